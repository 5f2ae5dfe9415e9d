//! From the device back: bytes of a mapped buffer, awaited rather than waited for.

use crate::device::Gpu;
use crate::error::GpuError;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// How somebody waits for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The future asks when it is polled: natively again and again, in a browser when the browser says so.
    Awaiting,
    /// The thread sleeps in the driver until the device is done.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser's thread may not block"))]
    Blocking,
}

/// The first `bytes` of a buffer that may be mapped for reading. Unmaps it.
///
/// # Errors
/// [`GpuError::Lost`] or [`GpuError::Refused`].
pub(crate) async fn read_bytes(
    gpu: &Gpu,
    buffer: &wgpu::Buffer,
    bytes: u64,
    waiting: Waiting,
) -> Result<Vec<u8>, GpuError> {
    let slice = buffer.slice(..bytes);
    let state = Arc::new(Mutex::new(State::default()));
    let told = state.clone();
    slice.map_async(wgpu::MapMode::Read, move |result| {
        let mut state = told.lock().unwrap_or_else(PoisonError::into_inner);
        state.done = Some(result.is_ok());
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    });
    // Lets go of it in any case, of a future that nobody asks any more as well.
    let mut held = Held { buffer, is_held: true };
    held.is_held = Mapped { gpu, state, waiting }.await;
    gpu.take_trouble("a batch")?;
    let refused = |reason: String| GpuError::Refused { what: "a read-back".to_owned(), reason };
    if !held.is_held {
        return Err(refused("the buffer could not be mapped".to_owned()));
    }
    let data = slice.get_mapped_range().map_err(|error| refused(error.to_string()))?.to_vec();
    Ok(data)
}

/// A buffer that is mapped, or will be.
struct Held<'a> {
    buffer: &'a wgpu::Buffer,
    is_held: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.is_held {
            self.buffer.unmap();
        }
    }
}

#[derive(Default)]
struct State {
    /// Whether the mapping came to be.
    done: Option<bool>,
    waker: Option<Waker>,
}

struct Mapped<'a> {
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser drives its devices by itself"))]
    gpu: &'a Gpu,
    state: Arc<Mutex<State>>,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser drives its devices by itself"))]
    waiting: Waiting,
}

impl Future for Mapped<'_> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        // Natively nothing happens unless somebody asks; and a device that is gone says so in the state.
        #[cfg(not(target_arch = "wasm32"))]
        let asked = self.gpu.device().poll(match self.waiting {
            Waiting::Awaiting => wgpu::PollType::Poll,
            Waiting::Blocking => wgpu::PollType::wait_indefinitely(),
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = state.done {
            return Poll::Ready(done);
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            if asked.is_err() {
                return Poll::Ready(false);
            }
            context.waker().wake_by_ref();
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
