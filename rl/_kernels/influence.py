"""The product of a sparse recurrent Jacobian with sensitivities, edge by edge."""

from numba import njit


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def multiply_edges(link, edges, places, before, read, after):
    """Fill `after` with D `before`, D between the rows of one group.

    Parameters
    ----------
    link : float[S, E]
        The values of D on all edges.
    edges, places : int32[e]
        The group's edges among all, and where each lies in the matrix [r, r], flat.
    before, after : float[S, r, p]
        Sensitivities of the group, before and after.
    read : int
        The component that is read.
    """
    n_components, n_rows, n_params = after.shape
    after[:] = 0
    for s in range(n_components):
        for e in range(edges.shape[0]):
            value = link[s, edges[e]]
            source = before[read, places[e] % n_rows]
            target = after[s, places[e] // n_rows]
            for k in range(n_params):
                target[k] += value * source[k]
