"""Two divisions of the same samples into groups: how far do they agree, whatever the groups are
called?"""

import numpy as np

from minigan.metrics import inputs


def assignment(cost):
    """The permutation p of 0 … n − 1 with the least Σᵢ cost[i, pᵢ], cost (n, n): the Hungarian
    method, O(n³).

    Prices u of the rows and v of the columns are kept with uᵢ + vⱼ ≤ cost[i, j], and equal on
    assigned pairs: then Σ u + Σ v is a lower bound that the assignment reaches. One row at a time
    is added along the shortest augmenting path, on which an edge's length is cost − u − v ≥ 0.
    Source: Kuhn 1955, Naval Research Logistics Quarterly 2, 83; by shortest paths Jonker &
    Volgenant 1987, Computing 38, 325.
    """
    [cost] = inputs.features("assignment", 1, cost=cost)
    n = len(cost)
    if cost.shape != (n, n):
        raise ValueError(f"assignment: expected a square matrix of costs, got {cost.shape}")
    u, v, row_of, column_of = np.zeros(n), np.zeros(n), np.full(n, -1), np.full(n, -1)
    for start in range(n):
        length, before = np.full(n, np.inf), np.zeros(n, int)  # of a column: the path so far
        reached, row, so_far = np.zeros(n, bool), start, 0.0
        while True:  # Dijkstra's algorithm, to the first free column
            through = so_far + cost[row] - u[row] - v
            shorter = ~reached & (through < length)
            length[shorter], before[shorter] = through[shorter], row
            column = np.where(reached, np.inf, length).argmin()
            reached[column], so_far = True, length[column]
            if row_of[column] < 0:
                break
            row = row_of[column]
        u[start] += so_far
        for j in np.flatnonzero(reached & (row_of >= 0)):
            u[row_of[j]] += so_far - length[j]
            v[j] -= so_far - length[j]
        while column >= 0:  # each row of the path goes over to the column after it
            row = before[column]
            row_of[column] = row
            column, column_of[row] = column_of[row], column
    return column_of


def code_agreement(codes, classes):
    """The largest share of samples on which codes (N,) and classes (N,), integers ≥ 0, agree, if
    each code stands for one class and no two for the same: 1 if they divide the samples alike.

    Chance has more than 1/K, since the best match is chosen after the fact. Chen et al. 2016,
    arXiv:1606.03657, match by hand.
    """
    codes, classes = inputs.host(codes), inputs.host(classes)
    for what, x in (("codes", codes), ("classes", classes)):
        if x.ndim != 1 or x.dtype.kind not in "iu" or len(x) == 0 or x.min() < 0:
            raise ValueError(f"code_agreement: expected {what} (N,) of integers ≥ 0, got {x.dtype} "
                             f"{x.shape}")
    if len(codes) != len(classes):
        raise ValueError(f"code_agreement: expected as many classes as codes, got {len(classes)} "
                         f"and {len(codes)}")
    n = 1 + max(codes.max(), classes.max())
    together = np.bincount(codes * n + classes, minlength=n * n).reshape(n, n)
    return float(together[np.arange(n), assignment(-together)].sum() / len(codes))
