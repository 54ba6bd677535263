"""A folder of scores: made, resumed, written and read.

slices.parquet
    One row per slice: series, index, z_mm, score; with regions also part and position; of weights
    whose scores follow millimetres also position_mm, on the body axis.
slices.csv
    The same as text, in its place: what the distribution ubr-score writes.
series.csv
    One row per series: slices, extent, Pearson r, ordered pairs, slope, range, findings, warnings;
    with regions also the parts, with position_mm also what it comes from.
findings.csv
    One row per fault that a curve shows: kind, first and last slice, confidence, reason.
landmarks.csv
    With regions: where each landmark and border lies, in mm, with an interval.
features.npy
    On request: the pooled features of each slice, in the order of slices.parquet.
overviews.parquet
    Where an audit or a report asked for them: a small coronal picture of each series.
left_out.csv
    One row for each series or file that gave no scores, with the reason.
settings.json
    What the scores depend on besides the series.

Series are named by the same hashed keys as in a store and ordered by them. Nothing identifies a
patient, unless paths were asked for.
"""
