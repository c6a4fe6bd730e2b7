"""The course as a website, built from what is stored: python -m book."""
