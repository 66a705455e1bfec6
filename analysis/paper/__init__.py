"""The paper as data: its tables, and the figures that its text quotes. `python -m analysis.paper` prints both.

The paper is Poyser, Atapour-Abarghouei and Breckon (2020), "On the Impact of Lossy Image and Video Compression on the Performance
of Deep Convolutional Neural Network Architectures". Modules from bottom to top: `tables`, `quotes`, `__main__`.
"""

from analysis.paper.tables import IN_PERCENT, TABLE_NOTES, paper_tables

__all__ = ["IN_PERCENT", "TABLE_NOTES", "paper_tables"]
