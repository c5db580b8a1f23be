//! How often and how patiently a broken exchange is repeated.

use super::http::Http;
use crate::error::{Error, Kind};
use crate::event::{Event, Events};
use crate::options::Patience;
use std::time::{Duration, Instant};

/// How one try ended badly.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing would change.
    Final(Error),
    /// It may go better, after the pause that the server asked for.
    Again {
        error: Error,
        wait: Option<Duration>,
    },
}

impl Failure {
    pub(super) fn again(error: Error) -> Self {
        Self::Again { error, wait: None }
    }
}

/// Longest pause that a server may ask for; longer ones end the fetch.
const LONGEST: Duration = Duration::from_secs(60);

/// Longest pause that we make of ourselves.
const LONGEST_OWN: Duration = Duration::from_secs(30);

/// How long an interrupted fetch may go on sleeping.
const SLICE: Duration = Duration::from_millis(50);

/// Counts the tries of one transfer.
pub(super) struct Tries<'a> {
    patience: Patience,
    done: u32,
    pause: Duration,
    events: Events<'a>,
    http: &'a Http,
}

impl<'a> Tries<'a> {
    pub(super) fn new(http: &'a Http, events: Events<'a>) -> Self {
        let patience = http.network().patience;
        Self {
            patience,
            done: 0,
            pause: patience.pause,
            events,
            http,
        }
    }

    /// Something came through: counting begins anew.
    pub(super) fn reset(&mut self) {
        self.done = 0;
        self.pause = self.patience.pause;
    }

    /// Waits for the next try, or gives the error when there is none left.
    pub(super) fn again(&mut self, failure: Failure) -> Result<(), Error> {
        let (error, wait) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Again { error, wait } => (error, wait),
        };
        if self.http.is_stopped() {
            return Err(error);
        }
        self.done += 1;
        let wait = wait.unwrap_or(self.pause);
        if wait > LONGEST {
            return Err(error);
        }
        if self.done >= self.patience.tries {
            return Err(match self.patience.tries {
                0 | 1 => error,
                n if error.kind() == Kind::Unreachable => {
                    error.while_doing(format!("try for the {n}th time"))
                }
                _ => error,
            });
        }
        (self.events)(Event::Message(&format!(
            "{}; trying again in {:.1} s",
            error.because(),
            wait.as_secs_f64()
        )));
        let until = Instant::now() + wait;
        while !self.http.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(SLICE));
        }
        self.pause = (self.pause * 2).min(LONGEST_OWN);
        Ok(())
    }
}
