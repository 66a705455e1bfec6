"""Code that data set readers share: image files, splits, embedded scenes, inspection."""
