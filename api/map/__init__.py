"""The node drawn from what the daemon answers: as a tree, as SVG, and as one HTML page, which the daemon serves too."""
