//! The device that a model runs on.

use std::fmt;
use std::str::FromStr;

/// The device to run on: `auto`, `cpu`, `gpu` or `gpu:N`.
///
/// ```
/// use grice_core::Device;
///
/// assert_eq!("gpu:1".parse(), Ok(Device::Gpu(Some(1))));
/// assert_eq!(Device::default().to_string(), "cpu");
/// assert!("tpu".parse::<Device>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// A hardware GPU that computes the model correctly, otherwise the processor.
    Auto,
    /// The processor.
    #[default]
    Cpu,
    /// The best adapter, or the adapter with this number in the list of `grice doctor`; an error if it cannot be used.
    Gpu(Option<usize>),
}

impl FromStr for Device {
    type Err = String;
    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu(None)),
            _ => match text.strip_prefix("gpu:").map(str::parse) {
                Some(Ok(index)) => Ok(Device::Gpu(Some(index))),
                _ => Err(format!("`{text}` is not a device; write auto, cpu, gpu, or gpu:0 for the first adapter")),
            },
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Gpu(None) => f.write_str("gpu"),
            Device::Gpu(Some(index)) => write!(f, "gpu:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_written_as_it_is_read() {
        for text in ["auto", "cpu", "gpu", "gpu:0", "gpu:12"] {
            assert_eq!(text.parse::<Device>().map(|device| device.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "cuda", "gpu:99999999999999999999"] {
            assert!(text.parse::<Device>().is_err_and(|error| error.contains("gpu:0")), "{text}");
        }
    }
}
