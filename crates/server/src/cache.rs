//! A cache in Redis that several servers share, as a second level after the one in the process. It is always optional: if it is down or slow,
//! the server works without it, and the metrics show that.

#[cfg(feature = "redis")]
pub(crate) use remote::SharedCache;

#[cfg(not(feature = "redis"))]
pub(crate) use absent::SharedCache;

#[cfg(feature = "redis")]
mod remote {
    use crate::ServeError;
    use crate::metrics::{Metrics, OutcomeLabels};
    use grice_core::schedule::{CacheKey, LogitsRow};
    use redis::AsyncConnectionConfig;
    use redis::aio::MultiplexedConnection;
    use std::sync::{Arc, Mutex, PoisonError, Weak};
    use std::time::Duration;
    use tokio::sync::Notify;
    use tokio::time::timeout;

    /// A run takes some milliseconds, so a longer wait for the cache would be slower.
    const ANSWER_MAX: Duration = Duration::from_millis(20);
    const CONNECT_MAX: Duration = Duration::from_millis(500);
    /// Interval between checks of the Redis server, up or down.
    const LOOK_PAUSE: Duration = Duration::from_secs(1);
    /// The key contains the model's digest, so entries never become stale; this only removes unused ones.
    const KEEP_SECONDS: u64 = 7 * 24 * 3600;
    const PREFIX: &[u8] = b"grice:1:";

    /// The connection to the server, while there is one.
    pub(crate) struct SharedCache {
        client: redis::Client,
        connection: Mutex<Option<MultiplexedConnection>>,
        lost: Notify,
        metrics: Arc<Metrics>,
    }

    impl SharedCache {
        /// Connects in the background; the Redis server may be down.
        ///
        /// # Errors
        /// [`ServeError::Setting`] for an invalid address.
        pub(crate) fn start(url: &str, metrics: Arc<Metrics>) -> Result<Arc<SharedCache>, ServeError> {
            let client = redis::Client::open(url).map_err(|error| ServeError::Setting {
                what: "--cache".to_owned(),
                // The address is left out, because it may contain a password.
                cause: format!("not the address of a Redis server ({error}); write redis://host:port/database"),
            })?;
            let cache = SharedCache { client, connection: Mutex::new(None), lost: Notify::new(), metrics };
            let cache = Arc::new(cache);
            tokio::spawn(keep_connected(Arc::downgrade(&cache)));
            Ok(cache)
        }

        /// The cached rows of `labels` logits each, in the order of the keys. Empty while the Redis server is down.
        pub(crate) async fn get(&self, keys: &[CacheKey], labels: usize) -> Vec<Option<LogitsRow>> {
            let Some(mut connection) = self.connection() else {
                self.count("unavailable");
                return Vec::new();
            };
            let mut command = redis::cmd("MGET");
            keys.iter().for_each(|key| _ = command.arg(name(key)));
            let query = command.query_async::<Vec<Option<Vec<u8>>>>(&mut connection);
            let Some(values) = self.in_time(query).await else { return Vec::new() };
            let rows = values.into_iter().map(|value| {
                let row = value.as_deref().map(|value| row_of(value, labels));
                self.count(match &row {
                    Some(Some(_)) => "hit",
                    Some(None) => "broken",
                    None => "miss",
                });
                row.flatten()
            });
            rows.collect()
        }

        /// Stores a row.
        pub(crate) async fn put(&self, key: CacheKey, row: LogitsRow) {
            let Some(mut connection) = self.connection() else { return };
            let bytes: Vec<u8> = row.iter().flat_map(|logit| logit.to_le_bytes()).collect();
            let mut command = redis::cmd("SET");
            command.arg(name(&key)).arg(bytes).arg("EX").arg(KEEP_SECONDS);
            if self.in_time(command.query_async::<()>(&mut connection)).await.is_some() {
                self.count("stored");
            }
        }

        /// The answer, unless it is late or an error; then the connection is dropped.
        async fn in_time<T>(&self, query: impl Future<Output = redis::RedisResult<T>>) -> Option<T> {
            let outcome = match timeout(ANSWER_MAX, query).await {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the shared cache failed; continuing without it");
                    "error"
                }
                Err(_) => {
                    tracing::warn!("the shared cache did not answer in time; continuing without it");
                    "timeout"
                }
            };
            self.count(outcome);
            self.set_connection(None);
            self.lost.notify_one();
            None
        }

        fn connection(&self) -> Option<MultiplexedConnection> {
            self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn set_connection(&self, connection: Option<MultiplexedConnection>) {
            self.metrics.shared_cache_up.set(i64::from(connection.is_some()));
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
        }

        fn count(&self, outcome: &'static str) {
            self.metrics.shared_cache.get_or_create(&OutcomeLabels { outcome }).inc();
        }

        /// Makes sure that there is a connection and that it answers.
        async fn look(&self) {
            if let Some(mut connection) = self.connection() {
                let ping = redis::cmd("PING");
                // The metrics show the state; a lost connection is opened again at once.
                _ = self.in_time(ping.query_async::<String>(&mut connection)).await;
            }
            if self.connection().is_some() {
                return;
            }
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_MAX))
                .set_response_timeout(Some(CONNECT_MAX));
            match timeout(CONNECT_MAX, self.client.get_multiplexed_async_connection_with_config(&config)).await {
                Ok(Ok(connection)) => {
                    tracing::info!("the shared cache is up");
                    self.set_connection(Some(connection));
                }
                Ok(Err(error)) => tracing::debug!(%error, "the shared cache is down"),
                Err(_) => tracing::debug!("the shared cache is down: no answer"),
            }
        }
    }

    async fn keep_connected(cache: Weak<SharedCache>) {
        while let Some(cache) = cache.upgrade() {
            cache.look().await;
            let lost = cache.lost.notified();
            // Wait also after a failure.
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                () = lost => tokio::time::sleep(LOOK_PAUSE / 4).await,
            }
        }
    }

    fn name(key: &CacheKey) -> Vec<u8> {
        [PREFIX, key.as_bytes()].concat()
    }

    /// Other programs may have written the value, so only a value that can be logits is accepted.
    fn row_of(bytes: &[u8], labels: usize) -> Option<LogitsRow> {
        if bytes.len() != 4 * labels {
            return None;
        }
        let row: LogitsRow = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        row.iter().all(|logit| logit.is_finite()).then_some(row)
    }

    #[cfg(test)]
    mod tests {
        use super::row_of;

        #[test]
        fn only_finite_rows_of_the_right_length_are_taken() {
            let bytes = |row: &[f32]| row.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            assert_eq!(row_of(&bytes(&[1.0, -2.5]), 2).as_deref(), Some([1.0, -2.5].as_slice()));
            for (broken, labels) in
                [(bytes(&[1.0]), 2), (bytes(&[1.0, 2.0]), 1), (bytes(&[1.0, f32::NAN]), 2), (vec![1; 7], 2)]
            {
                assert_eq!(row_of(&broken, labels), None, "{broken:?}");
            }
            assert_eq!(row_of(&[], 4), None);
        }
    }
}

#[cfg(not(feature = "redis"))]
mod absent {
    use crate::ServeError;
    use crate::metrics::Metrics;
    use grice_core::schedule::{CacheKey, LogitsRow};
    use std::sync::Arc;

    /// Empty in this build.
    pub(crate) enum SharedCache {}

    impl SharedCache {
        pub(crate) fn start(_: &str, _: Arc<Metrics>) -> Result<Arc<SharedCache>, ServeError> {
            let cause = "this build has no shared cache; build with the feature `redis`".to_owned();
            Err(ServeError::Setting { what: "--cache".to_owned(), cause })
        }

        pub(crate) async fn get(&self, _: &[CacheKey], _: usize) -> Vec<Option<LogitsRow>> {
            match *self {}
        }

        pub(crate) async fn put(&self, _: CacheKey, _: LogitsRow) {
            match *self {}
        }
    }
}
