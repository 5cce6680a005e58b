//! The Huffman code of strings, RFC 7541 section 5.2 and appendix B.
//!
//! It is canonical: codes of one length follow each other in the order of their
//! symbols, so that lengths and symbols say all. Strings are decoded four bits at
//! a time, by a table of 16 steps for each node of the code's tree.

use std::sync::LazyLock;

/// How many codes there are of each length, from 0 bits on; the end-of-string
/// symbol is the last of 30.
pub(super) const CODES_OF_LENGTH: [u16; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];

/// The symbols in the order of their codes; the end of a string is not among them.
#[rustfmt::skip]
pub(super) const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57,
    61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70,
    71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118,
    119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36,
    64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226,
    153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136,
    146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198,
    228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159,
    171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213,
    218, 219, 238, 240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245,
    246, 247, 248, 250, 251, 252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19,
    20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22
];

/// A string that is not Huffman code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHuffman;

/// Decodes `string` behind what `out` holds. At most eight bytes come of five.
pub(super) fn decode(string: &[u8], out: &mut Vec<u8>) -> Result<(), NotHuffman> {
    let steps = &*STEPS;
    let mut node = 0;
    for nibble in string.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        let step = steps.of(node, nibble);
        if let Some(symbol) = step.symbol {
            out.push(symbol);
        }
        node = step.node.ok_or(NotHuffman)?;
    }
    // What is left over pads the last byte, with the first bits of the end.
    if steps.may_end[usize::from(node)] { Ok(()) } else { Err(NotHuffman) }
}

/// Four bits further: at most one symbol, for none is shorter than five.
#[derive(Clone, Copy)]
struct Step {
    symbol: Option<u8>,
    /// `None`: these bits are no code's, or the end's, which may not be sent.
    node: Option<u8>,
}

struct Steps {
    steps: Vec<[Step; 16]>,
    may_end: Vec<bool>,
}

impl Steps {
    fn of(&self, node: u8, nibble: u8) -> Step {
        self.steps[usize::from(node)][usize::from(nibble & 15)]
    }
}

static STEPS: LazyLock<Steps> = LazyLock::new(|| Tree::new().steps());

/// What lies behind a bit.
#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(u8),
    Symbol(u8),
}

/// Nodes with the branches of either bit; 0 is the root. There are 256.
struct Tree(Vec<[Branch; 2]>);

impl Tree {
    fn new() -> Self {
        let mut tree = Self(vec![[Branch::Nothing; 2]]);
        let mut symbols = SYMBOLS.iter();
        let mut code: u32 = 0;
        for (bits, count) in CODES_OF_LENGTH.iter().enumerate() {
            code <<= 1;
            for _ in 0..*count {
                // The end of a string leads nowhere.
                tree.add(
                    bits,
                    code,
                    symbols.next().map_or(Branch::Nothing, |s| Branch::Symbol(*s)),
                );
                code += 1;
            }
        }
        tree
    }

    fn add(&mut self, bits: usize, code: u32, end: Branch) {
        let mut node = 0;
        for at in (1..bits).rev() {
            let bit = (code >> at & 1) as usize;
            node = match self.0[node][bit] {
                Branch::Node(next) => usize::from(next),
                Branch::Symbol(_) => unreachable!("no code begins another"),
                Branch::Nothing => {
                    let new = self.0.len();
                    self.0.push([Branch::Nothing; 2]);
                    let number = u8::try_from(new).expect("257 codes make 256 nodes");
                    self.0[node][bit] = Branch::Node(number);
                    new
                }
            };
        }
        self.0[node][(code & 1) as usize] = end;
    }

    fn steps(&self) -> Steps {
        let step = |from: usize, nibble: u8| {
            let mut step = Step { symbol: None, node: None };
            let mut node = from;
            for at in (0..4).rev() {
                match self.0[node][usize::from(nibble >> at & 1)] {
                    Branch::Nothing => return step,
                    Branch::Node(next) => node = usize::from(next),
                    Branch::Symbol(symbol) => {
                        step.symbol = Some(symbol);
                        node = 0;
                    }
                }
            }
            step.node = u8::try_from(node).ok();
            step
        };
        let steps = (0..self.0.len())
            .map(|node| std::array::from_fn(|nibble| step(node, nibble as u8)))
            .collect();
        // Less than a byte of ones, section 5.2.
        let mut may_end = vec![false; self.0.len()];
        let mut node = 0;
        for _ in 0..8 {
            may_end[node] = true;
            let Branch::Node(next) = self.0[node][1] else { break };
            node = usize::from(next);
        }
        Steps { steps, may_end }
    }
}
