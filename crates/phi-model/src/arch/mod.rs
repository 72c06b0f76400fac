//! One file per architecture. A new family is a file here and its line in [`ALL`]; tensor specs, plan, loading and
//! forward pass follow from the [`Decoder`] it returns.

mod llama;
mod phi2;
mod phi3;
mod phi3small;
mod phimoe;

use phi_gguf::{Header, printable};

use crate::{Decoder, ModelError};

/// What a file's keys mean.
pub trait Architecture: Sync {
    /// Values of `general.architecture` this file answers to.
    fn names(&self) -> &'static [&'static str];

    /// Reads the hyper-parameters and says what the decoder is made of.
    fn decoder(&self, header: &Header) -> Result<Decoder, ModelError>;
}

/// Every architecture.
pub const ALL: &[&dyn Architecture] =
    &[&llama::Llama, &phi2::Phi2, &phi3::Phi3, &phi3small::Phi3Small, &phimoe::PhiMoe];

/// The decoder that a header describes.
pub fn decoder(header: &Header) -> Result<Decoder, ModelError> {
    let name: &str = header.metadata.get("general.architecture")?;
    match ALL.iter().find(|arch| arch.names().contains(&name)) {
        Some(arch) => arch.decoder(header),
        None => {
            let got = printable(name);
            let supported = ALL.iter().flat_map(|arch| arch.names()).copied().collect();
            let offset = header.metadata.offset("general.architecture");
            Err(ModelError::UnknownArchitecture { offset, got, supported })
        }
    }
}
