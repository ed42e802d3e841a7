"""Tests of the sandbox's media engine; real codecs, tiny pictures."""
