//! Any bytes as `grice.json`: an accepted manifest satisfies the assumptions of the code.
#![no_main]

use grice_core::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    assert_eq!(manifest.labels.len(), 4);
    assert!(manifest.template.contains("{response}"));
    assert!(manifest.temperatures.iter().all(|(_, &t)| t.is_finite() && t > 0.0));
    assert!(manifest.thresholds.iter().all(|(_, &t)| (0.0..=1.0).contains(&t)));
    assert!(manifest.models.values().all(|path| !path.starts_with('/') && !path.split('/').any(|part| part == "..")));
});
