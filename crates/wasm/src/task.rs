//! Work that waits for a GPU, polled by the driver.

use js_sys::Function;
use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use wasm_bindgen::prelude::*;

/// Work that runs while the event loop runs. Its driver polls it, so that a trap reaches the driver as an exception: a promise
/// from WebAssembly would never settle.
#[wasm_bindgen]
pub struct Task(pub(crate) Pin<Box<dyn Future<Output = Result<JsValue, JsValue>>>>);

#[wasm_bindgen]
impl Task {
    /// The result, or `undefined` while it runs; then `wake` is called when polling is useful again. All tasks share
    /// the last `wake`.
    ///
    /// # Errors
    /// Errors of the work.
    pub fn poll(&mut self, wake: &Function) -> Result<JsValue, JsValue> {
        WAKE.set(Some(wake.clone()));
        match self.0.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Woken)))) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(JsValue::UNDEFINED),
        }
    }
}

// A waker may move to any thread, but a function may not, so it stays here.
thread_local!(static WAKE: RefCell<Option<Function>> = const { RefCell::new(None) });

struct Woken;

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let _ = WAKE.with_borrow(Clone::clone).map(|wake| wake.call0(&JsValue::UNDEFINED));
    }
}
