"""The text of the functions that generated code with loops over matrices calls."""

HELPERS = """
# The functions below are made of these sums of matrix products. Inner loops run over contiguous
# memory. Only the upper triangle of a symmetric result is computed; the lower one is its copy.


@_compiled
def _trace(matrix):
    total = 0.0
    for i in range(matrix.shape[0]):
        total += matrix[i, i]
    return total


@_compiled
def _inner(left, right):
    total = 0.0
    for i in range(left.shape[0]):
        for j in range(left.shape[1]):
            total += left[i, j] * right[i, j]
    return total


@_compiled
def _total(vector):
    total = 0.0
    for i in range(vector.size):
        total += vector[i]
    return total


@_compiled
def _weighted_trace(weights, matrix):
    total = 0.0
    for i in range(matrix.shape[0]):
        total += weights[i] * matrix[i, i]
    return total


@_compiled
def _weighted_inner(rows, left, right, columns):
    total = 0.0
    for i in range(left.shape[0]):
        part = 0.0
        for j in range(left.shape[1]):
            part += left[i, j] * right[i, j] * columns[j]
        total += rows[i] * part
    return total


@_compiled
def _add(out, factor, matrix):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += factor * matrix[i, j]


@_compiled
def _add_identity(out, factor):
    for i in range(out.shape[0]):
        out[i, i] += factor


@_compiled
def _add_product(out, sign, left, right):
    for i in range(out.shape[0]):
        for k in range(left.shape[1]):
            x = sign * left[i, k]
            for j in range(out.shape[1]):
                out[i, j] += x * right[k, j]


@_compiled
def _add_symmetric_product(out, sign, left, right):
    for i in range(out.shape[0]):
        for k in range(left.shape[1]):
            x = sign * left[i, k]
            for j in range(i, out.shape[1]):
                out[i, j] += x * right[k, j]


@_compiled
def _copy_upper(matrix):
    for i in range(matrix.shape[0]):
        for j in range(i):
            matrix[i, j] = matrix[j, i]


@_compiled
def _read_symmetric(source, offset, size):
    matrix = np.empty((size, size))
    k = offset
    for i in range(size):
        for j in range(i, size):
            matrix[i, j] = source[k]
            matrix[j, i] = source[k]
            k += 1
    return matrix


@_compiled
def _read(source, offset, rows, columns):
    matrix = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            matrix[i, j] = source[offset + i * columns + j]
    return matrix


@_compiled
def _write_symmetric(target, offset, matrix):
    k = offset
    for i in range(matrix.shape[0]):
        for j in range(i, matrix.shape[1]):
            target[k] = matrix[i, j]
            k += 1


@_compiled
def _write(target, offset, matrix):
    columns = matrix.shape[1]
    for i in range(matrix.shape[0]):
        for j in range(columns):
            target[offset + i * columns + j] = matrix[i, j]


@_compiled
def _entry_product(left, right):
    product = np.empty(left.shape)
    for i in range(left.shape[0]):
        for j in range(left.shape[1]):
            product[i, j] = left[i, j] * right[i, j]
    return product


@_compiled
def _scaled_columns(matrix, factors):
    scaled = np.empty(matrix.shape)
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            scaled[i, j] = matrix[i, j] * factors[j]
    return scaled


@_compiled
def _row_sums(matrix):
    sums = np.empty(matrix.shape[0])
    for i in range(matrix.shape[0]):
        total = 0.0
        for j in range(matrix.shape[1]):
            total += matrix[i, j]
        sums[i] = total
    return sums


@_compiled
def _matrix_vector(matrix, vector):
    product = np.empty(matrix.shape[0])
    for i in range(matrix.shape[0]):
        total = 0.0
        for j in range(matrix.shape[1]):
            total += matrix[i, j] * vector[j]
        product[i] = total
    return product


@_compiled
def _add_vector(out, vector):
    for i in range(out.size):
        out[i] += vector[i]


@_compiled
def _pair_products(left, right):
    rows, columns = left.shape
    products = np.empty((rows * (rows + 1) // 2, columns))
    k = 0
    for i in range(rows):
        for j in range(i, rows):
            for m in range(columns):
                products[k, m] = left[i, m] * right[j, m]
            k += 1
    return products


@_compiled
def _transpose(matrix):
    transposed = np.empty((matrix.shape[1], matrix.shape[0]))
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            transposed[j, i] = matrix[i, j]
    return transposed
"""
