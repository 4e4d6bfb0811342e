"""`make doctor`: what is installed, built and running here, and how to mend what is missing.

Python's own library must do: it runs where nothing has been set up yet.
"""
