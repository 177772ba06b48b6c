"""What changes a model's masks, and by how much: the studies of SAM's robustness, for any model and engine.

study        a study: photos that are changed in several ways and degrees, and the masks of each
predictions  the masks of a photo by boxes, by clicks and in everything mode, as run lengths
others       other models to compare with
pictures     the sheet of examples
studies      a file for each study, and their table
corruptions  ImageNet-C's corruptions of photos
attacks      adversarial changes of photos, with PyTorch
"""
