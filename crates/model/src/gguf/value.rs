//! What the fields of a GGUF file hold.

use super::cursor::Cursor;

/// Lists in lists that are still read.
const DEPTH_MAX: usize = 4;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A whole number.
    Whole(i128),
    /// Another number.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(String),
    /// Several of one type.
    List(List),
}

/// Several values of one type, in no more memory than they take in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum List {
    /// Texts, one after another, and where each ends.
    Texts(String, Vec<usize>),
    /// Numbers, as their bytes.
    Numbers(Scalar, Vec<u8>),
    /// Lists, which nothing reads.
    Lists,
}

/// The types of single numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

impl Scalar {
    fn of(id: u32) -> Option<Scalar> {
        Some(match id {
            0 => Scalar::U8,
            1 => Scalar::I8,
            2 => Scalar::U16,
            3 => Scalar::I16,
            4 => Scalar::U32,
            5 => Scalar::I32,
            6 => Scalar::F32,
            7 => Scalar::Bool,
            10 => Scalar::U64,
            11 => Scalar::I64,
            12 => Scalar::F64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Scalar::U8 | Scalar::I8 | Scalar::Bool => 1,
            Scalar::U16 | Scalar::I16 => 2,
            Scalar::U32 | Scalar::I32 | Scalar::F32 => 4,
            Scalar::U64 | Scalar::I64 | Scalar::F64 => 8,
        }
    }

    /// The value that so many bytes are.
    fn read(self, bytes: &[u8]) -> Value {
        fn of<const N: usize>(bytes: &[u8]) -> [u8; N] {
            let mut array = [0; N];
            array.copy_from_slice(&bytes[..N]);
            array
        }
        match self {
            Scalar::U8 => Value::Whole(bytes[0].into()),
            Scalar::I8 => Value::Whole((bytes[0] as i8).into()),
            Scalar::U16 => Value::Whole(u16::from_le_bytes(of(bytes)).into()),
            Scalar::I16 => Value::Whole(i16::from_le_bytes(of(bytes)).into()),
            Scalar::U32 => Value::Whole(u32::from_le_bytes(of(bytes)).into()),
            Scalar::I32 => Value::Whole(i32::from_le_bytes(of(bytes)).into()),
            Scalar::U64 => Value::Whole(u64::from_le_bytes(of(bytes)).into()),
            Scalar::I64 => Value::Whole(i64::from_le_bytes(of(bytes)).into()),
            Scalar::F32 => Value::Number(f32::from_le_bytes(of(bytes)).into()),
            Scalar::F64 => Value::Number(f64::from_le_bytes(of(bytes))),
            Scalar::Bool => Value::Flag(bytes[0] != 0),
        }
    }
}

/// The next value, after its type.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Value, String> {
    let id = cursor.u32()?;
    match (id, Scalar::of(id)) {
        (_, Some(scalar)) => Ok(scalar.read(cursor.bytes(scalar.bytes() as u64)?)),
        (TEXT, _) => Ok(Value::Text(cursor.text()?.to_owned())),
        (LIST, _) => Ok(Value::List(list(cursor, 1)?)),
        _ => Err(format!("it holds a value of the type {id}, which GGUF does not have")),
    }
}

fn list(cursor: &mut Cursor<'_>, depth: usize) -> Result<List, String> {
    let (id, count) = (cursor.u32()?, cursor.u64()?);
    let cut = || format!("it is cut short: a list of {count} values ends beyond it");
    match (id, Scalar::of(id)) {
        (_, Some(scalar)) => {
            let bytes = count.checked_mul(scalar.bytes() as u64).filter(|bytes| *bytes <= cursor.rest());
            Ok(List::Numbers(scalar, cursor.bytes(bytes.ok_or_else(cut)?)?.to_vec()))
        }
        // A text has 8 bytes for its length.
        (TEXT, _) if count <= cursor.rest() / 8 => texts(cursor, count),
        (LIST, _) if depth == DEPTH_MAX => Err(format!("it holds lists in lists, {depth} deep; it is damaged")),
        // A list has 12 bytes for its type and length.
        (LIST, _) if count <= cursor.rest() / 12 => {
            (0..count).try_for_each(|_| list(cursor, depth + 1).map(|_| ()))?;
            Ok(List::Lists)
        }
        (TEXT | LIST, _) => Err(cut()),
        _ => Err(format!("it holds a list of the type {id}, which GGUF does not have")),
    }
}

fn texts(cursor: &mut Cursor<'_>, count: u64) -> Result<List, String> {
    let (mut all, mut ends) = (String::new(), Vec::new());
    for _ in 0..count {
        all += cursor.text()?;
        ends.push(all.len());
    }
    Ok(List::Texts(all, ends))
}

impl List {
    /// The texts; `None` if they are none.
    pub(crate) fn texts(&self) -> Option<Vec<&str>> {
        let List::Texts(all, ends) = self else { return None };
        let starts = [0].into_iter().chain(ends.iter().copied());
        starts.zip(ends).map(|(start, end)| all.get(start..*end)).collect()
    }

    /// The values of a list of numbers.
    fn values(&self) -> Option<impl Iterator<Item = Value> + '_> {
        let List::Numbers(scalar, bytes) = self else { return None };
        Some(bytes.chunks_exact(scalar.bytes()).map(|bytes| scalar.read(bytes)))
    }

    /// The numbers; `None` if they are none.
    pub(crate) fn numbers(&self) -> Option<Vec<f32>> {
        let number = |value| match value {
            Value::Number(number) => Some(number as f32),
            Value::Whole(whole) => Some(whole as f32),
            _ => None,
        };
        self.values()?.map(number).collect()
    }

    /// The whole numbers; `None` if they are none.
    pub(crate) fn wholes(&self) -> Option<Vec<i64>> {
        let whole = |value| match value {
            Value::Whole(whole) => i64::try_from(whole).ok(),
            _ => None,
        };
        self.values()?.map(whole).collect()
    }

    /// The bytes of a list of single bytes.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            List::Numbers(Scalar::U8 | Scalar::I8, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The value that all have, if they have one.
    pub(crate) fn common(&self) -> Option<Value> {
        let mut values = self.values()?;
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    }
}
