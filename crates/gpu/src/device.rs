//! An open device: its queue, what it may do, and whether it is still there.

use crate::adapter::{Adapter, Selector, choose_adapter};
use crate::error::GpuError;
use crate::gemm::{Abilities, Fragments, abilities_of, cooperative_features, fragments_of};
use crate::pipelines::Pipelines;
use crate::tuning::Tuning;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Between a device's refusal of something because it is lost, and its saying so.
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser's thread may not wait"))]
const NEWS_WAIT_MAX: Duration = Duration::from_millis(100);

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// A folder for what need not be found out twice: compiled pipelines and the best tiles. Made if it is missing; what in it
    /// does not fit is made anew. `None` keeps nothing; browsers keep their own.
    pub cache: Option<PathBuf>,
    /// Whether steps may be timed, where the adapter can (`timestamp-query`).
    pub timestamps: bool,
    /// Whether to do without what only some adapters have and drivers are young at (cooperative matrices).
    pub portable: bool,
    /// Whether to find out by timing how products are made fastest; what was found is kept in `cache`.
    pub tuning: Tuning,
}

/// An open device, shared by whatever runs on it.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter: Adapter,
    settings: Settings,
    /// Its cooperative matrices, where the device was opened with them.
    fragments: Option<Fragments>,
    pipelines: Pipelines,
    state: Arc<State>,
}

/// What the device says of itself, at any time and on any thread.
#[derive(Default)]
struct State {
    lost: Mutex<Option<String>>,
    /// Of `lost`.
    news: Condvar,
    /// The first error that no scope caught since somebody last asked.
    trouble: Mutex<Option<String>>,
    /// What is worth knowing and stops nobody.
    warnings: Mutex<Vec<String>>,
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`GpuError`] if there is none, none of that index, or it cannot be used.
    pub async fn open(selector: Selector, settings: &Settings) -> Result<Gpu, GpuError> {
        let (found, adapter) = choose_adapter(selector).await?;
        let fragments = fragments_of(&found).filter(|_| !settings.portable);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("grice"),
            required_features: wanted_features(settings, fragments.is_some()) & found.features(),
            required_limits: wanted_limits(&found.limits()),
            experimental_features: experimental_features(fragments.is_some()),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = found
            .request_device(&descriptor)
            .await
            .map_err(|error| GpuError::Device { adapter: adapter.name.clone(), reason: error.to_string() })?;
        let state = Arc::new(State::default());
        let told = state.clone();
        device.set_device_lost_callback(move |reason, message| {
            let text = if message.is_empty() { format!("{reason:?}") } else { message };
            set_first(&told.lost, text);
            told.news.notify_all();
        });
        let told = state.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| set_first(&told.trouble, error.to_string())));
        let pipelines = Pipelines::new(&device, settings.cache.as_deref());
        Ok(Gpu {
            inner: Arc::new(Inner { device, queue, adapter, settings: settings.clone(), fragments, pipelines, state }),
        })
    }

    /// What it was opened on.
    pub fn adapter(&self) -> &Adapter {
        &self.inner.adapter
    }

    /// Why the device is gone, if it is; it does not come back, and a new one must be opened.
    pub fn lost(&self) -> Option<String> {
        self.inner.state.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What went wrong without stopping anybody: a cache that was ignored, a feature of the adapter that does not work.
    pub fn warnings(&self) -> Vec<String> {
        self.inner.state.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser keeps and times nothing"))]
    pub(crate) fn warn(&self, text: String) {
        self.inner.state.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser keeps and times nothing"))]
    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.inner.pipelines
    }

    /// What it can do for products, as far as it says so itself.
    pub(crate) fn abilities(&self) -> Abilities {
        abilities_of(&self.inner.device, self.inner.fragments)
    }

    /// Whether steps can be timed.
    pub(crate) fn times_steps(&self) -> bool {
        self.inner.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Does what makes buffers or pipelines, and says what the device has against it. `what` and `bytes` are for messages.
    ///
    /// # Errors
    /// [`GpuError::Lost`], [`GpuError::OutOfMemory`] or [`GpuError::Refused`].
    pub(crate) async fn attempt<T>(
        &self,
        what: &str,
        bytes: u64,
        work: impl FnOnce() -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        let (value, errors) = {
            let filters = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory];
            let scopes = filters.map(|filter| self.inner.device.push_error_scope(filter));
            let value = work();
            let [validation, internal, memory] = scopes;
            // The innermost first.
            let memory = memory.pop();
            let internal = internal.pop();
            (value, (memory, internal, validation.pop()))
        };
        let (memory, internal, validation) = (errors.0.await, errors.1.await, errors.2.await);
        self.ask_whether_lost()?;
        if memory.is_some() {
            return Err(GpuError::OutOfMemory { what: what.to_owned(), bytes });
        }
        match internal.or(validation) {
            Some(error) => Err(GpuError::Refused { what: what.to_owned(), reason: error.to_string() }),
            None => value,
        }
    }

    /// # Errors
    /// [`GpuError::Lost`].
    pub(crate) fn ask_whether_lost(&self) -> Result<(), GpuError> {
        // Natively a device says that it is lost when it is asked for something.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.inner.device.poll(wgpu::PollType::Poll);
        self.lost().map_or(Ok(()), |reason| Err(GpuError::Lost(reason)))
    }

    /// What the device has had against it since somebody last asked, outside of [`Gpu::attempt`].
    pub(crate) fn take_trouble(&self, what: &str) -> Result<(), GpuError> {
        if let Some(reason) = self.lost() {
            return Err(GpuError::Lost(reason));
        }
        match self.inner.state.trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reason) => Err(GpuError::Refused { what: what.to_owned(), reason }),
            None => Ok(()),
        }
    }

    /// The reason behind an error: a device that goes away refuses things before it says so.
    pub(crate) fn explain(&self, error: GpuError) -> GpuError {
        #[cfg(not(target_arch = "wasm32"))]
        self.wait_for_news();
        self.lost().map_or(error, GpuError::Lost)
    }

    /// Gives a device that is about to say that it is lost the time to do so.
    #[cfg(not(target_arch = "wasm32"))]
    fn wait_for_news(&self) {
        // It says so once all that was handed in has ended, one way or the other.
        let _ = self.inner.device.poll(wgpu::PollType::wait_indefinitely());
        // And on another thread, if that one asked first.
        let state = &self.inner.state;
        let lost = state.lost.lock().unwrap_or_else(PoisonError::into_inner);
        drop(state.news.wait_timeout_while(lost, NEWS_WAIT_MAX, |lost| lost.is_none()));
    }

    /// Lets go of the device as a driver that crashes does. For tests of what follows.
    #[doc(hidden)]
    pub fn destroy(&self) {
        self.inner.device.destroy();
    }
}

/// The first reason counts; what follows is its consequence.
fn set_first(place: &Mutex<Option<String>>, text: String) {
    place.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
}

/// Cooperative matrices are behind this door in wgpu.
fn experimental_features(wanted: bool) -> wgpu::ExperimentalFeatures {
    if !wanted {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: what the door opens may have bugs that are undefined behaviour. Only the shaders of `gemm` that come with this
    // crate use it; they are validated for every set of constants, and none is chosen on an adapter before it made the right
    // products there (`tune::check`).
    #[allow(unsafe_code)]
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

fn wanted_features(settings: &Settings, cooperative: bool) -> wgpu::Features {
    let mut features = wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
    if cooperative {
        features |= cooperative_features();
    }
    if settings.timestamps {
        features |= wgpu::Features::TIMESTAMP_QUERY;
    }
    if settings.cache.is_some() {
        features |= wgpu::Features::PIPELINE_CACHE;
    }
    features
}

/// WebGPU's defaults, so that what runs here runs anywhere, but as much memory as there is.
fn wanted_limits(found: &wgpu::Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_buffer_size: found.max_buffer_size,
        max_storage_buffer_binding_size: found.max_storage_buffer_binding_size,
        max_compute_workgroup_storage_size: found.max_compute_workgroup_storage_size,
        ..wgpu::Limits::default()
    }
}
