"""Reports: run folders and comparisons become one HTML file that opens offline.

The steps: folders → evidence (what was read) → groups of seeds → curves, front and tables, all plain values → page.
The templates in templates/ hold the page's words and HTML.
"""
