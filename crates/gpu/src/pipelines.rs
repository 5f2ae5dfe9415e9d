//! Compiled shaders, made once a device and kept, where somebody gives a folder, for the next time.

use crate::recording::{Access, PipelineKey};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The pipelines of a device.
pub(crate) struct Pipelines {
    made: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    kept: Mutex<Option<Kept>>,
}

/// A pipeline, and what it binds.
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// The driver's own form of pipelines, and the file that it came from and goes to.
struct Kept {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    #[cfg(not(target_arch = "wasm32"))]
    start: Start,
}

/// What the driver was given at first.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Nothing,
    /// What the folder kept.
    Folder,
    /// What came with a compiled engine.
    Compiled,
}

impl Pipelines {
    /// None yet; what `folder` keeps from an earlier time makes them quicker.
    pub(crate) fn new(device: &wgpu::Device, folder: Option<&Path>) -> Pipelines {
        Pipelines { made: Mutex::default(), kept: Mutex::new(folder.and_then(|folder| Kept::open(device, folder))) }
    }

    /// The pipeline of a key. What the device has against it, an error scope says.
    pub(crate) fn get(&self, device: &wgpu::Device, key: &PipelineKey) -> Arc<Pipeline> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::new(make_pipeline(device, key, kept.as_ref().map(|kept| &kept.cache)))
        };
        made.entry(key.clone()).or_insert_with(make).clone()
    }

    /// Writes down what the driver made of all pipelines so far. A folder that cannot be written to costs time only, the next
    /// time.
    pub(crate) fn keep(&self) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept
            && let Some(data) = kept.cache.get_data()
        {
            // Under another name first: whoever reads meanwhile finds a whole file.
            let draft = kept.path.with_extension(format!("{}.part", std::process::id()));
            if std::fs::write(&draft, data).is_ok() && std::fs::rename(&draft, &kept.path).is_err() {
                let _ = std::fs::remove_file(&draft);
            }
        }
    }

    /// The driver's own form of all pipelines so far, where there is one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn data(&self) -> Option<Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.cache.get_data()
    }

    /// Whether [`Pipelines::seed`] gave the driver something.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub(crate) fn was_seeded(&self) -> bool {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|kept| kept.start == Start::Compiled)
    }

    /// Starts from what [`Pipelines::data`] gave at another time, unless the folder had something already.
    ///
    /// # Safety
    /// It must be just that.
    #[cfg(not(target_arch = "wasm32"))]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn seed(&self, device: &wgpu::Device, data: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_mut().filter(|kept| kept.start == Start::Nothing) {
            let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: Some(data), fallback: true };
            // SAFETY: the caller says so.
            kept.cache = unsafe { device.create_pipeline_cache(&descriptor) };
            kept.start = Start::Compiled;
        }
    }
}

impl Kept {
    /// Where the device has such a form at all.
    fn open(device: &wgpu::Device, folder: &Path) -> Option<Kept> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = folder.join(wgpu::util::pipeline_cache_key(&device.adapter_info())?);
        std::fs::create_dir_all(folder).ok()?;
        let data = std::fs::read(&path).ok();
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
        // SAFETY: data comes from a file that only `keep` writes, whole and from `get_data`; the API checks its header, the
        // driver's version and the device's, and starts anew where they differ. Whoever can write to the user's cache folder
        // can run programs as that user already.
        #[allow(unsafe_code)]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Kept {
            cache,
            path,
            #[cfg(not(target_arch = "wasm32"))]
            start: if data.is_some() { Start::Folder } else { Start::Nothing },
        })
    }
}

fn make_pipeline(device: &wgpu::Device, key: &PipelineKey, cache: Option<&wgpu::PipelineCache>) -> Pipeline {
    let shader = key.shader;
    let label = Some(shader.name);
    let source = wgpu::ShaderSource::Wgsl(shader.source.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
    let buffer = |binding: usize, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    };
    let mut entries = vec![buffer(0, wgpu::BufferBindingType::Uniform, true)];
    entries.extend(shader.bindings.iter().enumerate().map(|(index, access)| {
        let read_only = *access == Access::Read;
        buffer(index + 1, wgpu::BufferBindingType::Storage { read_only }, false)
    }));
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        ..Default::default()
    });
    let constants: Vec<(&str, f64)> = key.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(shader.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            // Every shader writes what it reads there.
            zero_initialize_workgroup_memory: false,
        },
        cache,
    });
    Pipeline { pipeline, layout }
}
