//! Matrices of blocks, such as heads side by side, in fewer bytes, and back to the very same numbers.

/// Larger matrices are kept as they are, and none of rectangles is larger.
pub(super) const ELEMENTS_MAX: usize = 1 << 22;

/// The rectangles outside of which all elements are zero, if they hold less than half of all: columns whose elements lie in the same rows,
/// side by side.
pub(super) fn rectangles_of(values: &[f32], columns: usize) -> Option<Vec<[usize; 4]>> {
    let mut rows: Vec<Option<(usize, usize)>> = vec![None; columns];
    for (row, elements) in values.chunks_exact(columns).enumerate() {
        for (range, element) in rows.iter_mut().zip(elements) {
            // Zeros with a sign are elements too.
            if element.to_bits() != 0 {
                *range = Some((range.map_or(row, |(first, _)| first), row + 1));
            }
        }
    }
    let mut rectangles: Vec<[usize; 4]> = Vec::new();
    for (column, range) in rows.iter().enumerate() {
        let Some((first, end)) = *range else { continue };
        match rectangles.last_mut() {
            Some([row, count, start, width]) if (*row, *row + *count, *start + *width) == (first, end, column) => {
                *width += 1
            }
            _ => rectangles.push([first, end - first, column, 1]),
        }
    }
    let held: usize = rectangles.iter().map(|[_, rows, _, columns]| rows * columns).sum();
    (2 * held < values.len() && rectangles.len() <= columns.div_ceil(8)).then_some(rectangles)
}

pub(super) fn elements_of(
    values: &[f32],
    width: usize,
    [row, rows, column, columns]: [usize; 4],
) -> impl Iterator<Item = f32> {
    (row..row + rows).flat_map(move |row| values[row * width + column..][..columns].iter().copied())
}

/// The matrix of rectangles; `None` if one does not lie in it, or the elements are not as many.
pub(super) fn fill(elements: &[f32], rectangles: &[[usize; 4]], [rows, columns]: [usize; 2]) -> Option<Vec<f32>> {
    let count = rows.checked_mul(columns).filter(|count| *count <= ELEMENTS_MAX)?;
    let (mut values, mut rest) = (vec![0.0; count], elements);
    for &[row, height, column, width] in rectangles {
        let inside = row.checked_add(height)? <= rows && column.checked_add(width)? <= columns;
        if !inside || width == 0 {
            return None;
        }
        for row in row..row + height {
            let (own, others) = rest.split_at_checked(width)?;
            values[row * columns + column..][..width].copy_from_slice(own);
            rest = others;
        }
    }
    rest.is_empty().then_some(values)
}

/// Whole numbers and a scale for each of `columns` columns whose products are exactly the elements of rectangles; `None` if there are none.
pub(super) fn whole_numbers_of(
    elements: &[f32],
    rectangles: &[[usize; 4]],
    columns: usize,
) -> Option<(Vec<i8>, Vec<f32>)> {
    let (mut numbers, mut scales, mut start) = (vec![0; elements.len()], vec![1.0; columns], 0);
    for &[_, rows, first, width] in rectangles {
        for column in 0..width {
            let places = (0..rows).map(|row| start + row * width + column);
            let values: Vec<f32> = places.clone().map(|place| elements[place]).collect();
            let (own, scale) = whole_numbers(&values)?;
            places.zip(own).for_each(|(place, number)| numbers[place] = number);
            scales[first + column] = scale;
        }
        start += rows * width;
    }
    Some((numbers, scales))
}

/// The largest of the values is taken for every whole number in turn; what it divided by that leaves is tried with its neighbours.
fn whole_numbers(values: &[f32]) -> Option<(Vec<i8>, f32)> {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let candidates = (1..=128_u16).rev().flat_map(|number| {
        let scale = largest / f32::from(number);
        [scale, scale.next_up(), scale.next_down()]
    });
    candidates.filter(|scale| scale.is_normal()).find_map(|scale| {
        let number = |value: &f32| {
            let number = (value / scale).round();
            let exact =
                (-128.0..=127.0).contains(&number) && (f32::from(number as i8) * scale).to_bits() == value.to_bits();
            exact.then_some(number as i8)
        };
        Some((values.iter().map(number).collect::<Option<Vec<i8>>>()?, scale))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f32], columns: usize, expected: Option<&[[usize; 4]]>) {
        let found = rectangles_of(values, columns);
        assert_eq!(found.as_deref(), expected, "{values:?}");
        let Some(rectangles) = found else { return };
        let elements: Vec<f32> = rectangles.iter().flat_map(|at| elements_of(values, columns, *at)).collect();
        let shape = [values.len() / columns, columns];
        assert_eq!(fill(&elements, &rectangles, shape).unwrap(), values);
        assert!(fill(&elements[1..], &rectangles, shape).is_none());
        assert!(fill(&elements, &[[1, shape[0], 0, 1]], shape).is_none());
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        let mut values = vec![0.0; 16 * 16];
        for row in 0..8 {
            for column in 0..4 {
                values[row * 16 + column] = 1.0 + row as f32;
                values[(row + 8) * 16 + column + 12] = -1.0 - column as f32;
            }
        }
        check(&values, 16, Some(&[[0, 8, 0, 4], [8, 8, 12, 4]]));
        // A zero with a sign is kept.
        values[8 * 16 + 5] = -0.0;
        check(&values, 16, None);
        check(&[1.0; 64], 8, None);
    }

    #[test]
    fn whole_numbers_are_found_only_where_they_are_exact() {
        for scale in [0.013_f32, 1.7e-5, 3.0] {
            let exact: Vec<f32> = [-128, -3, 0, 1, 77, 127].map(|number: i16| f32::from(number) * scale).to_vec();
            let (numbers, found) = whole_numbers(&exact).unwrap();
            let again: Vec<f32> = numbers.iter().map(|&number| f32::from(number) * found).collect();
            assert_eq!(again, exact);
        }
        assert!(whole_numbers(&[1.0, 0.123_456_7, -0.2]).is_none());
        assert!(whole_numbers(&[1.0, -0.0]).is_none());
        assert!(whole_numbers(&[0.0; 3]).is_none());
    }
}
