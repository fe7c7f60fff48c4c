"""Reports: run folders and comparisons become one HTML file that opens offline.

The way is straight: folders → evidence (what was read) → groups of seeds → curves, front and tables → page.
"""
