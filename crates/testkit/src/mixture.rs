//! A program of an invented architecture that mixes pre-norm, post-norm and no norm, RMS and layer norms, rotary positions, a bias by distance,
//! windows, grouped heads and gates. And a simple forward pass over programs in f64, the reference for engines.

use grice_kernels::{Activation, LayerNorm, Rotary, ScoreBias};
use grice_model::{
    Attention, Block, Body, Dense, Embedding, FeedForward, Head, Layer, Linear, Matrix, Place, Pooling, Program,
    Readout, ScorePositions, Scores, Sees, Stack, Values,
};
use std::sync::Arc;

/// Rows of the word embedding.
pub const VOCABULARY: usize = 50;
/// Number of logits per sequence.
pub const LABELS: usize = 3;
/// The longest sequence.
pub const TOKENS_MAX: usize = 240;

const WORDS: usize = 32;
const HIDDEN: usize = 48;
const INNER: usize = 80;
const HEADS: usize = 6;
const KEY_HEADS: usize = 2;
/// All heads together are wider than hidden states.
const HEAD_DIM: usize = 12;

/// Pseudorandom numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    /// This number of values in ±`scale` around `middle`.
    fn take(&mut self, count: usize, middle: f32, scale: f32) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            middle + scale * ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0)
        };
        (0..count).map(|_| next()).collect()
    }

    fn linear(&mut self, inputs: usize, outputs: usize, bias: bool) -> Linear {
        let values = self.take(inputs * outputs, 0.0, (3.0 / inputs as f32).sqrt());
        let weights = Arc::new(Matrix::new(inputs, outputs, Values::F32(values)).unwrap());
        Linear { weights, bias: bias.then(|| self.take(outputs, 0.0, 0.3)) }
    }

    fn norm(&mut self, columns: usize, centred: bool) -> LayerNorm {
        let beta = if centred { self.take(columns, 0.0, 0.3) } else { vec![0.0; columns] };
        LayerNorm { gamma: self.take(columns, 1.0, 0.3), beta, epsilon: 1e-5, centred }
    }

    fn attention(&mut self, key_heads: usize, sees: Sees, positions: ScorePositions) -> Body {
        let (width, key_width) = (HEADS * HEAD_DIM, key_heads * HEAD_DIM);
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        Body::Attention(Box::new(Attention {
            query: self.linear(HIDDEN, width, false),
            key: self.linear(HIDDEN, key_width, false),
            value: self.linear(HIDDEN, key_width, true),
            output: self.linear(width, HIDDEN, true),
            scores: Scores { heads: HEADS, key_heads, head_dim: HEAD_DIM, scale, sees, positions },
        }))
    }

    /// A number for each head and for distances of up to 9.
    fn bias(&mut self) -> ScorePositions {
        ScorePositions::Bias(ScoreBias::new(HEADS, 9, &self.take(HEADS * 19, 0.0, 1.0)).unwrap())
    }

    fn feed_forward(&mut self, gate: Option<Activation>) -> Body {
        Body::FeedForward(FeedForward {
            gate: gate.map(|_| self.linear(HIDDEN, INNER, false)),
            up: self.linear(HIDDEN, INNER, gate.is_none()),
            activation: gate.unwrap_or(Activation::Relu),
            down: self.linear(INNER, HIDDEN, true),
        })
    }

    fn embedding(&mut self) -> Embedding {
        let words = Values::F32(self.take(VOCABULARY * WORDS, 0.0, 1.0));
        Embedding {
            words: Arc::new(Matrix::new(VOCABULARY, WORDS, words).unwrap()),
            positions: None,
            constant: Some(self.take(WORDS, 0.0, 0.2)),
            norm: Some(self.norm(WORDS, false)),
            projection: Some(self.linear(WORDS, HIDDEN, true)),
        }
    }
}

/// The program, in single precision.
pub fn program() -> Program {
    let numbers = &mut Numbers(7);
    let rotary = |columns: usize| ScorePositions::Rotary(Rotary::plain(10_000.0, columns, TOKENS_MAX));
    let (near, all) = (Sees::Window(5), Sees::All);
    let embedding = numbers.embedding();
    let bias = numbers.bias();
    let gates = [Activation::Gelu, Activation::Silu].map(Some);
    let bodies = [
        [numbers.attention(KEY_HEADS, near, rotary(HEAD_DIM)), numbers.feed_forward(gates[0])],
        [numbers.attention(HEADS, all, bias), numbers.feed_forward(None)],
        [numbers.attention(1, Sees::Window(40), rotary(8)), numbers.feed_forward(gates[1])],
        [numbers.attention(KEY_HEADS, all, rotary(HEAD_DIM)), numbers.feed_forward(gates[0])],
    ];
    // Pre-norm with RMS norms, but post-norm with layer norms in the second layer.
    let layers = bodies.into_iter().enumerate().map(|(number, bodies)| {
        let is_post = number == 1;
        let place = if is_post { Place::After } else { Place::Before };
        bodies.map(|body| Block { norm: Some(numbers.norm(HIDDEN, is_post)), place, body }).into()
    });
    let mut layers: Vec<Layer> = layers.collect();
    // What the embedding's norm made is not normalised again.
    layers[0][0].norm = None;
    let last = Some(numbers.norm(HIDDEN, false));
    let head = vec![
        Dense {
            linear: numbers.linear(HIDDEN, 20, true),
            activation: Activation::Tanh,
            norm: Some(numbers.norm(20, true)),
        },
        Dense { linear: numbers.linear(20, LABELS, true), activation: Activation::Identity, norm: None },
    ];
    let head = Head { layers: Ok(head), graph: None };
    Program { encoder: Stack { embedding, layers, last }, readout: Readout::Classes(head) }
}

/// A sequence of this length.
pub fn sequence(tokens: usize) -> Vec<u32> {
    (0..tokens).map(|at| ((at * at * 7 + at * 13 + tokens) % VOCABULARY) as u32).collect()
}

/// The answer for a sequence, logits or a vector, for programs with the parts of [`program`].
pub fn logits(program: &Program, ids: &[u32]) -> Vec<f32> {
    let Program { encoder, readout } = program;
    let mut x = embed(&encoder.embedding, ids);
    for Block { norm, place, body } in encoder.blocks() {
        let apply = |x: &Rows| match body {
            Body::Attention(attention) => attend(attention, x),
            Body::FeedForward(layer) => feed_forward(layer, x),
        };
        x = match place {
            Place::Before => add(&x, &apply(&normalise(norm.as_ref(), x.clone()))),
            Place::After => normalise(norm.as_ref(), add(&x, &apply(&x))),
        };
    }
    x = normalise(encoder.last.as_ref(), x);
    let answer = match readout {
        Readout::Classes(head) => {
            x.truncate(1);
            for Dense { linear, activation, norm } in head.layers.as_ref().unwrap() {
                x = normalise(norm.as_ref(), each(multiply(linear, &x), |x| activate(*activation, x)));
            }
            x.swap_remove(0)
        }
        Readout::Pooled { pooling, normalised } => pool(*pooling, *normalised, x),
    };
    answer.iter().map(|&x| x as f32).collect()
}

fn pool(pooling: Pooling, normalised: bool, mut x: Rows) -> Vec<f64> {
    let tokens = x.len() as f64;
    let vector = match pooling {
        Pooling::Cls => x.swap_remove(0),
        Pooling::Mean => (0..x[0].len()).map(|column| x.iter().map(|row| row[column]).sum::<f64>() / tokens).collect(),
    };
    let length = if normalised { vector.iter().map(|x| x * x).sum::<f64>().sqrt() } else { 1.0 };
    vector.iter().map(|x| x / length).collect()
}

type Rows = Vec<Vec<f64>>;

fn embed(embedding: &Embedding, ids: &[u32]) -> Rows {
    let columns = embedding.columns();
    let words = embedding.words.to_f32();
    let constant = embedding.constant.as_ref().unwrap();
    let row = |id: &u32| -> Vec<f64> {
        let word = &words[*id as usize * columns..][..columns];
        word.iter().zip(constant).map(|(word, constant)| f64::from(*word) + f64::from(*constant)).collect()
    };
    assert!(embedding.positions.is_none(), "the reference pass has no learned positions");
    multiply(embedding.projection.as_ref().unwrap(), &normalise(embedding.norm.as_ref(), ids.iter().map(row).collect()))
}

fn normalise(norm: Option<&LayerNorm>, x: Rows) -> Rows {
    let Some(norm) = norm else { return x };
    let row = |row: &Vec<f64>| {
        let count = row.len() as f64;
        let mean = if norm.centred { row.iter().sum::<f64>() / count } else { 0.0 };
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        let factor = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
        let parameters = norm.gamma.iter().zip(&norm.beta);
        row.iter().zip(parameters).map(|(x, (g, b))| (x - mean) * factor * f64::from(*g) + f64::from(*b)).collect()
    };
    x.iter().map(row).collect()
}

fn multiply(linear: &Linear, x: &Rows) -> Rows {
    let (weights, outputs) = (linear.weights.to_f32(), linear.outputs());
    let row = |row: &Vec<f64>| {
        let column = |column: usize| {
            let products = row.iter().enumerate().map(|(k, x)| x * f64::from(weights[k * outputs + column]));
            products.sum::<f64>() + linear.bias.as_ref().map_or(0.0, |bias| f64::from(bias[column]))
        };
        (0..outputs).map(column).collect()
    };
    x.iter().map(row).collect()
}

fn feed_forward(layer: &FeedForward, x: &Rows) -> Rows {
    let up = multiply(&layer.up, x);
    let inner = match &layer.gate {
        None => each(up, |x| activate(layer.activation, x)),
        Some(gate) => {
            let gate = each(multiply(gate, x), |x| activate(layer.activation, x));
            gate.iter().zip(&up).map(|(gate, up)| gate.iter().zip(up).map(|(a, b)| a * b).collect()).collect()
        }
    };
    multiply(&layer.down, &inner)
}

fn attend(attention: &Attention, x: &Rows) -> Rows {
    let Scores { heads, key_heads, head_dim, scale, sees, .. } = attention.scores;
    let mut q = multiply(&attention.query, x);
    let mut k = multiply(&attention.key, x);
    let v = multiply(&attention.value, x);
    if let Some(rotary) = attention.scores.rotary() {
        turn(rotary, head_dim, &mut q);
        turn(rotary, head_dim, &mut k);
    }
    let bias = attention.scores.bias();
    let mut context = vec![vec![0.0; heads * head_dim]; x.len()];
    for (i, context) in context.iter_mut().enumerate() {
        for head in 0..heads {
            let own = head * head_dim..(head + 1) * head_dim;
            let shared = head / (heads / key_heads);
            let keys = shared * head_dim..(shared + 1) * head_dim;
            let is_seen = |j: &usize| match sees {
                Sees::All => true,
                Sees::Window(window) => i.abs_diff(*j) <= window,
                Sees::Earlier(_) | Sees::Source => unreachable!("encoders only"),
            };
            let power = |j: usize| {
                let products = q[i][own.clone()].iter().zip(&k[j][keys.clone()]).map(|(a, b)| a * b);
                let bias = bias.map_or(0.0, |bias| f64::from(bias.at(head, j as i64 - i as i64)));
                (products.sum::<f64>() * f64::from(scale) + bias).exp()
            };
            let powers: Vec<(usize, f64)> = (0..x.len()).filter(is_seen).map(|j| (j, power(j))).collect();
            let sum: f64 = powers.iter().map(|(_, power)| power).sum();
            for (j, power) in powers {
                for (to, value) in context[own.clone()].iter_mut().zip(&v[j][keys.clone()]) {
                    *to += power / sum * value;
                }
            }
        }
    }
    multiply(&attention.output, &context)
}

/// Rotates column `i` of a head with column `i + columns / 2` by `position · base^(-2i / columns)`.
fn turn(rotary: &Rotary, head_dim: usize, x: &mut Rows) {
    let half = rotary.columns / 2;
    for (position, row) in x.iter_mut().enumerate() {
        for head in row.chunks_exact_mut(head_dim) {
            for i in 0..half {
                let power = -2.0 * i as f64 / rotary.columns as f64;
                let (sine, cosine) = (position as f64 * f64::from(rotary.base).powf(power)).sin_cos();
                let (a, b) = (head[i], head[i + half]);
                (head[i], head[i + half]) = (a * cosine - b * sine, b * cosine + a * sine);
            }
        }
    }
}

fn add(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

fn each(x: Rows, function: impl Fn(f64) -> f64) -> Rows {
    x.into_iter().map(|row| row.into_iter().map(&function).collect()).collect()
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        // Within the precision of f32.
        Activation::Gelu | Activation::GeluTanh | Activation::Silu => {
            f64::from(grice_kernels::reference::activate(activation, x as f32))
        }
    }
}
