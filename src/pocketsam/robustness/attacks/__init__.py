"""Adversarial photos: small changes that remove, enlarge or move masks (Attack-SAM, arXiv 2305.00866). Needs PyTorch.

case     the object that is attacked in a photo, and the defences
network  a model from the photo's pixels to mask logits, with gradients
goals    what an attack wants of the logits, as losses
steps    FGSM, BIM, PGD and C&W-style steps within an ε-ball
universal  one pattern for all photos
"""
