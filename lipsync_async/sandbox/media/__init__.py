"""The sandbox's media engine: probe, plan, render, speak and draw.

Nothing is imported here, so that a sandbox without the `sandbox` extra can still ask
`engines` what is missing. `timeline` decides everything and is pure; the other modules
carry its decisions out with PyAV, numpy and Pillow.
"""
