//! Outputs of inference requests, also as classes (the classification extension).

use super::bounds::Bounds;
use crate::problem::Problem;
use grice_core::Maxim;

/// One requested output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) kind: OutputKind,
    /// Send it as bytes after the JSON head.
    pub(crate) binary: bool,
    /// Send this number of highest values with their labels instead of all numbers.
    pub(crate) classes: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Logits,
    Probabilities,
    /// The share of each response that the tokenizer does not know.
    UnknownShare,
}

/// The values of one output, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column {
    Numbers { rows: usize, values: Vec<f32> },
    Classes { rows: usize, texts: Vec<String> },
}

impl OutputKind {
    pub(crate) const ALL: [OutputKind; 3] = [OutputKind::Logits, OutputKind::Probabilities, OutputKind::UnknownShare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            OutputKind::Logits => "logits",
            OutputKind::Probabilities => "probabilities",
            OutputKind::UnknownShare => "unknown_share",
        }
    }

    /// Its number of columns, for a model with this number of labels.
    pub(crate) fn columns(self, labels: usize) -> usize {
        match self {
            OutputKind::Logits | OutputKind::Probabilities => labels,
            OutputKind::UnknownShare => 1,
        }
    }
}

impl Output {
    /// Adds an output by name.
    ///
    /// # Errors
    /// 400 for an unknown or repeated name.
    pub(crate) fn add(
        outputs: &mut Vec<Output>,
        name: &str,
        binary: bool,
        classes: Option<u64>,
        bounds: Bounds,
    ) -> Result<(), Problem> {
        let Some(kind) = OutputKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let name: String = name.escape_default().take(80).collect();
            return Err(Problem::malformed(format!(
                "no output `{name}`; the outputs are logits, probabilities and unknown_share"
            )));
        };
        if outputs.iter().any(|output| output.kind == kind) {
            return Err(Problem::malformed(format!("output `{name}` is requested more than once")));
        }
        if kind == OutputKind::UnknownShare && classes.is_some_and(|count| count > 0) {
            return Err(Problem::malformed(format!("output `{name}` has no classes")));
        }
        let classes = classes.map(|count| usize::try_from(count).unwrap_or(usize::MAX).min(bounds.labels));
        outputs.push(Output { kind, binary, classes });
        Ok(())
    }

    /// Its values: all numbers, or the highest of each row.
    pub(crate) fn column(&self, rows: usize, values: Vec<f32>, labels: &[Maxim]) -> Column {
        let Some(count) = self.classes else { return Column::Numbers { rows, values } };
        let texts = values.chunks_exact(labels.len().max(1)).flat_map(|row| top(row, labels, count)).collect();
        Column::Classes { rows, texts }
    }
}

/// `value:index:label` of the highest values, the highest first; equal values in index order.
fn top(row: &[f32], labels: &[Maxim], count: usize) -> Vec<String> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    let texts = places.into_iter().take(count);
    texts
        .map(|place| format!("{}:{place}:{}", row[place], labels.get(place).map_or("", |label| label.name())))
        .collect()
}

impl Column {
    pub(crate) fn datatype(&self) -> &'static str {
        match self {
            Column::Numbers { .. } => "FP32",
            Column::Classes { .. } => "BYTES",
        }
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        let (rows, values) = match self {
            Column::Numbers { rows, values } => (*rows, values.len()),
            Column::Classes { rows, texts } => (*rows, texts.len()),
        };
        [rows, values / rows.max(1)]
    }

    /// Little-endian; each text preceded by a 32-bit length.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Column::Numbers { values, .. } => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Column::Classes { texts, .. } => texts
                .iter()
                .flat_map(|text| (text.len() as u32).to_le_bytes().into_iter().chain(text.bytes()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_the_highest_with_place_and_label() {
        let labels = [Maxim::Manner, Maxim::Quantity, Maxim::Relation, Maxim::Quality];
        let values = vec![0.5, 0.25, 1e-7, 0.5, -1.0, 2.5, 0.0, 100.0];
        let output = Output { kind: OutputKind::Logits, binary: false, classes: Some(3) };
        let column = output.column(2, values.clone(), &labels);
        let texts =
            ["0.5:0:manner", "0.5:3:quality", "0.25:1:quantity", "100:3:quality", "2.5:1:quantity", "0:2:relation"];
        assert_eq!(column, Column::Classes { rows: 2, texts: texts.map(str::to_owned).into() });
        assert_eq!((column.datatype(), column.shape()), ("BYTES", [2, 3]));
        assert_eq!(column.bytes()[..20], *b"\x0c\0\0\x000.5:0:manner\x0d\0\0\0");
        // Exact, and without exponents, which clients may not parse.
        let Column::Classes { texts, .. } = Output { classes: Some(4), ..output }.column(2, values, &labels) else {
            unreachable!("classes were asked for")
        };
        assert_eq!(texts[3], "0.0000001:2:relation");
    }
}
