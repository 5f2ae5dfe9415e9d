//! Every shader with every set of constants, looked at without a device: valid, and translated for Vulkan and Metal.

use super::all_methods;
use crate::gemm::shaders::{self, ALL};
use crate::recording::Shader;
use naga::back::{PipelineConstants, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

pub(crate) struct Translator {
    module: naga::Module,
    info: naga::valid::ModuleInfo,
    name: &'static str,
}

impl Translator {
    pub(crate) fn new(shader: &Shader) -> Translator {
        let capabilities = Capabilities::all();
        let options = naga::front::wgsl::Options { parse_doc_comments: false, capabilities };
        let module = naga::front::wgsl::Frontend::new_with_options(options).parse(shader.source);
        let module = module.unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(shader.source)));
        let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
        let info = info.unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(shader.source)));
        assert_eq!(module.entry_points.len(), 1);
        assert_eq!(module.entry_points[0].name, shader.entry);
        Translator { module, info, name: shader.name }
    }

    pub(crate) fn translate(&self, constants: &[(&str, u32)]) -> [u32; 3] {
        let named: PipelineConstants = constants.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        let entry = Some((naga::ShaderStage::Compute, "main"));
        let (module, info) = process_overrides(&self.module, &self.info, entry, &named)
            .unwrap_or_else(|error| panic!("{} with {constants:?}: {error}", self.name));
        let options = spv::Options { lang_version: (1, 6), ..Default::default() };
        let words = spv::write_vec(&module, &info, &options, None);
        assert!(words.unwrap_or_else(|error| panic!("{} with {constants:?}: {error}", self.name)).len() > 100);
        let options = msl::Options { lang_version: (3, 1), fake_missing_bindings: true, ..Default::default() };
        let text = msl::write_string(&module, &info, &options, &Default::default());
        let (text, _) = text.unwrap_or_else(|error| panic!("{} with {constants:?}: {error}", self.name));
        assert!(text.contains("kernel void"), "{text}");
        module.entry_points[0].workgroup_size
    }
}

/// Constants of the epilogue, and whether k is cut.
fn endings() -> Vec<Vec<(&'static str, u32)>> {
    let mut endings: Vec<Vec<(&'static str, u32)>> =
        (0..5).map(|activation| vec![("ACTIVATION", activation), ("RESIDUAL", activation % 2)]).collect();
    endings.push(vec![("SPLIT", 1), ("K_TAIL", 1)]);
    endings.push(vec![("SPLIT", 0), ("K_TAIL", 1), ("RESIDUAL", 1)]);
    endings
}

#[test]
fn every_method_translates() {
    let translators = ALL.map(Translator::new);
    for method in all_methods() {
        let shader = method.shader();
        let translator = translators.iter().find(|translator| translator.name == shader.name).unwrap();
        for ending in endings() {
            let constants = [method.constants(), ending].concat();
            let size = translator.translate(&constants);
            assert_eq!(size, [method.invocations(), 1, 1], "{method:?}");
        }
    }
}

#[test]
fn what_surrounds_products_translates() {
    let reduce = Translator::new(&shaders::REDUCE);
    for ending in endings() {
        let constants = ending.into_iter().filter(|(name, _)| matches!(*name, "ACTIVATION" | "RESIDUAL"));
        let constants: Vec<_> = constants.chain([("INT8", 1)]).collect();
        assert_eq!(reduce.translate(&constants), [64, 1, 1]);
    }
    let quantize = Translator::new(&shaders::QUANTIZE_ROWS);
    for tail in [0, 1] {
        assert_eq!(quantize.translate(&[("K_TAIL", tail)]), [64, 1, 1]);
    }
}

#[test]
fn the_memory_that_is_claimed_is_the_memory_that_is_used() {
    for method in all_methods() {
        let translator = Translator::new(method.shader());
        let named: PipelineConstants =
            method.constants().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let entry = Some((naga::ShaderStage::Compute, "main"));
        let (module, _) = process_overrides(&translator.module, &translator.info, entry, &named).unwrap();
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        let shared = module.global_variables.iter().filter(|(_, global)| global.space == naga::AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, global)| layouter[global.ty].size).sum();
        assert_eq!(bytes, method.workgroup_bytes(), "{method:?}");
    }
}
