//! Known models by name: what their `config.json` says, without a download. The texts are in `known/`, one per shape.
//!
//! Lists of longrope factors are not kept: a repository has published different ones over time, and nobody computes with
//! weights that are not there. [`Known::config`] makes lists of the right length instead, see [`factors`].

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::error::Result;

/// A model that somebody published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The name it goes by here.
    pub name: &'static str,
    /// Other names for the same shapes.
    pub aliases: &'static [&'static str],
    text: &'static str,
}

/// Declares one model per line: its name, which is that of the file, then others with the same shapes.
macro_rules! known {
    ($($name:literal $(, $alias:literal)*;)*) => {
        const ALL: &[Known] = &[$(Known {
            name: $name,
            aliases: &[$($alias),*],
            text: include_str!(concat!("known/", $name, ".json")),
        },)*];
    };
}

known! {
    "phi-1", "phi-1.5", "phi-1_5";
    "phi-2";
    "phi-3-mini-4k", "phi-3-mini";
    "phi-3-mini-128k", "phi-3.5-mini";
    "phi-3-small-8k", "phi-3-small";
    "phi-3-small-128k";
    "phi-3-medium-4k", "phi-3-medium";
    "phi-3-medium-128k";
    "phi-3.5-moe";
    "phi-mini-moe";
    "phi-tiny-moe";
    "phi-4";
    "phi-4-reasoning", "phi-4-reasoning-plus";
    // Of the multimodal model this is the text decoder, as if it had been saved alone.
    "phi-4-mini", "phi-4-mini-reasoning", "phi-4-multimodal";
    "phi-4-mini-flash", "phi-4-mini-flash-reasoning";
}

impl Known {
    /// Every known model.
    pub fn all() -> &'static [Known] {
        ALL
    }

    /// The model of this name: in any case, with or without `microsoft/` before it and `-instruct` behind.
    pub fn find(name: &str) -> Option<Known> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("microsoft/").unwrap_or(&name);
        let name = name.strip_suffix("-instruct").unwrap_or(name);
        ALL.iter().copied().find(|known| known.name == name || known.aliases.contains(&name))
    }

    /// Its `config.json`, whose path is the name. Of a published model this is complete but for the longrope factors,
    /// which are [made up](factors).
    pub fn config(&self) -> Result<Config> {
        let mut config = Config::parse(self.name.as_ref(), self.text.as_bytes())?;
        add_factors(config.root_mut());
        Ok(config)
    }
}

/// Puts factors where the text says longrope and has none.
fn add_factors(root: &mut Map<String, Value>) {
    let number = |field: &str| root.get(field).and_then(Value::as_f64);
    let (Some(hidden), Some(heads), Some(context), Some(original)) = (
        number("hidden_size"),
        number("num_attention_heads"),
        number("max_position_embeddings"),
        number("original_max_position_embeddings"),
    ) else {
        return;
    };
    let rotated = (number("partial_rotary_factor").unwrap_or(1.0) * hidden / heads).round() as usize;
    let [short, long] = factors(rotated / 2, context / original);
    if let Some(scaling) = root.get_mut("rope_scaling").and_then(Value::as_object_mut) {
        scaling.entry("short_factor").or_insert(json!(short));
        scaling.entry("long_factor").or_insert(json!(long));
    }
}

/// Longrope factors of the usual kind for `pairs` rotated pairs: short ones are 1, long ones grow from 1 to `scale`,
/// each by the same ratio. `long[i] = scale^(i / (pairs − 1))`
pub fn factors(pairs: usize, scale: f64) -> [Vec<f32>; 2] {
    let last = pairs.saturating_sub(1).max(1) as f64;
    // In thousandths, so that the file does not depend on the last bit of a machine's power function.
    let long = (0..pairs).map(|i| (1000.0 * scale.powf(i as f64 / last)).round() as f32 / 1000.0);
    [vec![1.0; pairs], long.collect()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use crate::error::Problem;

    #[test]
    fn every_text_is_a_config() {
        for known in Known::all() {
            let config = known.config().unwrap();
            match Layout::of(&config) {
                Ok(layout) => assert!(["phi2", "phi3", "phi3small", "phimoe"].contains(&layout.arch), "{}", known.name),
                Err(error) => assert!(matches!(error.problem, Problem::Architecture { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn sizes_are_the_published_ones() {
        for (name, n_params) in [
            ("phi-1.5", 1_418_270_720),
            ("phi-2", 2_779_683_840),
            ("phi-3-mini-4k", 3_821_079_552),
            ("microsoft/Phi-3-mini-128k-instruct", 3_821_079_552),
            ("phi-3-small-8k", 7_392_272_384),
            ("phi-3-small-128k", 7_392_272_384),
            ("phi-3-medium-4k", 13_960_238_080),
            ("phi-3-medium-128k", 13_960_238_080),
            ("phi-3.5-moe", 41_873_153_344),
            ("phi-mini-moe", 7_647_632_704),
            ("phi-tiny-moe", 3_755_220_288),
            ("phi-4", 14_659_507_200),
            ("phi-4-reasoning-plus", 14_659_507_200),
            ("Phi-4-Mini-Instruct", 3_836_021_760_u64),
        ] {
            let layout = Layout::of(&Known::find(name).unwrap().config().unwrap()).unwrap();
            let used = |want: &&crate::Want| !(layout.tied == Some(true) && want.source == crate::HEAD);
            assert_eq!(layout.tensors.iter().filter(used).map(|t| t.shape.len()).sum::<u64>(), n_params, "{name}");
        }
        assert_eq!(Known::find("phi-5"), None);
    }

    #[test]
    fn factors_have_their_length_and_their_ends() {
        let layout = Layout::of(&Known::find("phi-4-mini").unwrap().config().unwrap()).unwrap();
        assert!(Layout::of(&Known::find("phi-mini-moe").unwrap().config().unwrap()).unwrap().made.is_empty());
        let long = &layout.made[0].1;
        assert_eq!((long.len(), long[0], long[47]), (48, 1.0, 32.0));
        assert!(long.is_sorted() && layout.made[1].1 == [1.0; 48]);
    }
}
