//! Tables as the original prints them: cells end in tabs, columns are eight wide or a multiple.

/// Rows of cells as lines; a cell is never cut and never joined to the next.
pub(crate) fn text(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            let longest = rows.iter().filter_map(|r| r.get(c)).map(|t| width(t)).max();
            (longest.unwrap_or(0) + 1).next_multiple_of(8)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        for (c, (cell, full)) in row.iter().zip(&widths).enumerate() {
            out.push_str(cell);
            if c + 1 < row.len() {
                let tabs = (full - width(cell)).div_ceil(8);
                out.extend(std::iter::repeat_n('\t', tabs));
            }
        }
        out.push('\n');
    }
    out
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A size as people read it: `9.4MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("");
    if unit == 0 || tenths >= 1000 {
        format!("{}{name}", tenths / 10)
    } else {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_at_multiples_of_eight() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect();
        assert_eq!(
            text(&[row(&["A", "B"]), row(&["1234567", "x"]), row(&["12", "y"])]),
            "A\tB\n1234567\tx\n12\ty\n"
        );
        assert_eq!(
            text(&[row(&["A", "B"]), row(&["12345678", "x"])]),
            "A\t\tB\n12345678\tx\n"
        );
    }

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        for (bytes, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (9_856_614, "9.3MiB"),
            (355_467_264, "339MiB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }
}
