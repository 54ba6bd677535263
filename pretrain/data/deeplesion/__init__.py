"""DeepLesion's layout, which real data, phantoms and planted lesions share.

    FOLDER/
      DL_info.csv                                          one row per annotated lesion: `table`
      Images_png/<patient>_<study>_<series>/<slice>.png    one 16-bit file per slice: `images`

`series` reads a folder of slices as a CT volume.
"""
