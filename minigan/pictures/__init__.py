"""Pictures of samples, of training and of whole runs. matplotlib and Pillow are imported when one
is drawn.

    plots        pictures as files: grids of images, clouds of points, curves, an animation
    laboratory   what a learner draws: points, scores, arrows, a bent grid, a graph
    graph        the graph of a tensor, laid out in layers
    snapshots    what a run draws into its folder while it trains
    examples     what was made of pictures or captions, beside what it was made from
    evaluation   real beside generated samples, as they were evaluated
    report       the page of a run; `film`, `curves`, `tables` and `markup` make its parts
"""
