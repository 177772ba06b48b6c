"""Heads for other tasks than segment anything: a file each, and the table of them.

A new head is a file here and a line in the table. Its class takes an `EncoderShape` and its own arguments, and gives
the losses' and the predictions' tensors of the encoder's feature maps.
"""

HEADS = {
    "classification": "classifier:Classifier",
    "detection": "detector:Detector",
    "semantic": "mask_transformer:MaskTransformer",
}
"""FILE:CLASS of the head of each task."""
