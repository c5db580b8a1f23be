//! From a name to an image in the store.
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Origin};
use crate::image::Image;
use crate::options::FetchOptions;
use crate::reference::Reference;
use crate::store::Store;

pub(crate) fn resolve(
    store: &Store,
    reference: &Reference,
    _options: &FetchOptions,
    events: Events<'_>,
) -> Result<Image> {
    let name = reference.canonical();
    match store.find_reference(reference)? {
        Some(image) => {
            events(Event::Using {
                reference: &name,
                image: &image.id,
                from: Origin::Store,
            });
            Ok(image)
        }
        None => Err(Error::new(
            Kind::NotFound,
            format!("there is no image `{name}` in the store"),
        )),
    }
}
