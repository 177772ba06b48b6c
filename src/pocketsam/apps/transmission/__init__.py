"""Semantic communication: what matters in a photo is sent well, the rest poorly (arXiv 2306.02094).

photo, mask → semantic.send → Container → container.write → bytes
                                  ↓ channel.transmit (packets are lost)
photo       ← semantic.receive ← Container ← container.read ←
"""
