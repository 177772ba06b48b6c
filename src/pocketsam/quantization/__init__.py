"""Post-training quantisation (TinySAM, arXiv 2312.13789, section 3.3): models in 8 bits and fewer.

quantizers   numbers to a few bits, and back
products     every matrix product of a model, whatever its architecture
search       the scales of one product
calibrate    the scales of all products, from a few images
model        a model with its scales: computed as quantised, saved, loaded
onnx         the same model in files that compute with 8-bit integers
"""
