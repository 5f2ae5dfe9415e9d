//! The files of a model: one, or the parts of a split one.

use super::super::folder::Folder;
use crate::gguf::{Header, Tensor, Value};
use crate::safetensors::Source;
use std::collections::BTreeMap;

/// More parts than any model has.
const PARTS_MAX: u32 = 9999;

/// Open files whose headers are checked.
pub(super) struct Files<'a> {
    parts: Vec<Part<'a>>,
    /// Which part a tensor is in.
    places: BTreeMap<String, usize>,
}

struct Part<'a> {
    name: String,
    source: Box<dyn Source + 'a>,
    header: Header,
}

/// A name that ends in `-00002-of-00003.gguf`.
struct Split<'n> {
    stem: &'n str,
    part: u32,
    count: u32,
}

impl<'n> Split<'n> {
    fn of(file: &'n str) -> Option<Split<'n>> {
        let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, part) = rest.rsplit_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
            plain.then(|| digits.parse::<u32>().ok())?
        };
        let (part, count) = (number(part)?, number(count)?);
        (1..=count).contains(&part).then_some(Split { stem, part, count })
    }

    fn name(&self, part: u32) -> String {
        format!("{}-{part:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

impl<'a> Files<'a> {
    /// Opens a file, or all parts if it is one of several.
    pub(super) fn open(folder: &'a dyn Folder, file: &str) -> Result<Files<'a>, String> {
        let mut files = Files { parts: Vec::new(), places: BTreeMap::new() };
        files.add(folder, file)?;
        let count = files.whole(0, "split.count")?.unwrap_or(0);
        match Split::of(file).filter(|split| i128::from(split.count) == count) {
            None if count > 1 => Err(format!(
                "{file}: it is one of {count} parts, and its name does not end in `-00001-of-{count:05}.gguf`, which finds the others"
            )),
            Some(split) if (2..=PARTS_MAX).contains(&split.count) => {
                files.parts.clear();
                (1..=split.count).try_for_each(|part| files.add(folder, &split.name(part)))?;
                files.check_parts()?;
                files.find_tensors()?;
                Ok(files)
            }
            _ => {
                files.find_tensors()?;
                Ok(files)
            }
        }
    }

    fn add(&mut self, folder: &'a dyn Folder, file: &str) -> Result<(), String> {
        let source = folder.file(file).map_err(|error| format!("{file}: {error}"))?;
        let missing = || match Split::of(file) {
            Some(split) => format!("the file {file} is missing: part {} of {} of the model", split.part, split.count),
            None => format!("the file {file} is missing"),
        };
        let source = source.ok_or_else(missing)?;
        let header = Header::read(&*source).map_err(|problem| format!("{file}: {problem}"))?;
        self.parts.push(Part { name: file.to_owned(), source, header });
        Ok(())
    }

    /// Each part must be what its name says.
    fn check_parts(&self) -> Result<(), String> {
        let count = self.parts.len();
        for (at, part) in self.parts.iter().enumerate() {
            let own = [("split.no", at), ("split.count", count)];
            for (field, expected) in own {
                let found = self.whole(at, field)?;
                if found != Some(expected as i128) {
                    let found = found.map_or_else(|| "is missing".to_owned(), |found| format!("is {found}"));
                    return Err(format!("{}: field `{field}` {found}; expected {expected}", part.name));
                }
            }
        }
        let tensors: usize = self.parts.iter().map(|part| part.header.tensors.len()).sum();
        match self.whole(0, "split.tensors.count")? {
            Some(all) if all != tensors as i128 => Err(format!(
                "{}: field `split.tensors.count` is {all}, and the {count} parts have {tensors} tensors",
                self.name()
            )),
            _ => Ok(()),
        }
    }

    fn whole(&self, part: usize, field: &str) -> Result<Option<i128>, String> {
        let part = &self.parts[part];
        match part.header.fields.get(field) {
            None => Ok(None),
            Some(Value::Whole(whole)) => Ok(Some(*whole)),
            Some(_) => Err(format!("{}: field `{field}`: it must be a whole number", part.name)),
        }
    }

    fn find_tensors(&mut self) -> Result<(), String> {
        for (at, part) in self.parts.iter().enumerate() {
            for name in part.header.tensors.keys() {
                if self.places.insert(name.clone(), at).is_some() {
                    return Err(format!("{}: the tensor `{name}` is in another part, too", part.name));
                }
            }
        }
        if self.places.is_empty() { Err(format!("{}: it holds no tensors", self.name())) } else { Ok(()) }
    }

    /// The first file, which has the fields.
    pub(super) fn name(&self) -> &str {
        &self.parts[0].name
    }

    /// The fields of the first file.
    pub(super) fn fields(&self) -> &BTreeMap<String, Value> {
        &self.parts[0].header.fields
    }

    /// All names of tensors.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &String> {
        self.places.keys()
    }

    /// What the header says of a tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.parts.get(*self.places.get(name)?)?.header.tensors.get(name)
    }

    /// The bytes of a tensor.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let part = self.places.get(name).map(|at| &self.parts[*at]);
        let found = part.and_then(|part| Some((part, part.header.tensors.get(name)?)));
        let (part, tensor) = found.ok_or_else(|| format!("{}: the tensor `{name}` is missing", self.name()))?;
        let bytes = part.source.read(part.header.range(tensor));
        bytes.map(std::borrow::Cow::into_owned).map_err(|error| format!("{}: {error}", self.named(name)))
    }

    /// A tensor and its file, for messages.
    pub(super) fn named(&self, name: &str) -> String {
        let file = self.places.get(name).map_or(self.name(), |at| &self.parts[*at].name);
        format!("{file}: the tensor `{name}`")
    }
}
