//! RFC 7541's own examples (appendix C), and what must hold beyond them.

use super::*;
use std::fmt::Write;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The fields of a block, one a line.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Option<String> {
    let mut text = String::new();
    let decoded = decoder.decode(block, |field| {
        let name = String::from_utf8_lossy(field.name);
        let value = String::from_utf8_lossy(field.value);
        let broken = if field.is_well_formed { "" } else { " (malformed)" };
        let _ = writeln!(text, "{name}: {value}{broken}");
    });
    decoded.is_ok().then_some(text)
}

/// Decodes blocks one after the other; what the table takes behind each.
fn check(blocks: &[(&str, &str, usize)]) {
    let mut decoder = Decoder::default();
    for (block, fields, table_bytes) in blocks {
        let expected: String = fields.lines().map(|line| line.trim().to_owned() + "\n").collect();
        assert_eq!(decode(&mut decoder, &hex(block)).unwrap(), expected);
        assert_eq!(decoder.table_bytes(), *table_bytes, "behind {fields}");
    }
}

const FIRST: &str = ":method: GET
    :scheme: http
    :path: /
    :authority: www.example.com";
const SECOND: &str = ":method: GET
    :scheme: http
    :path: /
    :authority: www.example.com
    cache-control: no-cache";
const THIRD: &str = ":method: GET
    :scheme: https
    :path: /index.html
    :authority: www.example.com
    custom-key: custom-value";

#[test]
fn c_2_single_fields() {
    check(&[(
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        "custom-key: custom-header",
        55,
    )]);
    check(&[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", 0)]);
    check(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", 0)]);
    check(&[("82", ":method: GET", 0)]);
}

#[test]
fn c_3_requests_without_huffman() {
    check(&[
        ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
        ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
        ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD, 164),
    ]);
}

#[test]
fn c_4_requests_with_huffman() {
    check(&[
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
        ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD, 164),
    ]);
}

/// With a table of 256 bytes, as a size update in front of the first block asks for.
#[test]
fn c_6_responses_with_huffman_and_eviction() {
    check(&[
        (
            "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0
             82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            ":status: 302
             cache-control: private
             date: Mon, 21 Oct 2013 20:13:21 GMT
             location: https://www.example.com",
            222,
        ),
        (
            "4883 640e ffc1 c0bf",
            ":status: 307
             cache-control: private
             date: Mon, 21 Oct 2013 20:13:21 GMT
             location: https://www.example.com",
            222,
        ),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
             77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
             9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            ":status: 200
             cache-control: private
             date: Mon, 21 Oct 2013 20:13:22 GMT
             location: https://www.example.com
             content-encoding: gzip
             set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            215,
        ),
    ]);
}

#[test]
fn c_1_integers() {
    for (prefix_bits, value, bytes) in
        [(5, 10, &[0x0a][..]), (5, 1337, &[0x1f, 0x9a, 0x0a]), (8, 42, &[0x2a])]
    {
        let mut out = Vec::new();
        encode::integer(&mut out, 0, prefix_bits, value);
        assert_eq!(out, bytes);
    }
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    for (block, why) in [
        ("80", "index 0"),
        ("be", "an index behind both tables"),
        ("7f 80 80 80 80 01", "an integer without end"),
        ("ff ff ff ff ff 7f", "a large index"),
        ("40 05 61", "a name that is cut off"),
        ("40 01 61 03 61", "a value that is cut off"),
        ("40", "no name"),
        ("3f e2 1f", "a table larger than ours"),
        ("82 20", "a size update behind a field"),
        ("40 82 ff ff 01 61", "padding of more than seven bits"),
        ("40 81 ee 01 61", "padding that is not ones"),
        ("40 84 ff ff ff ff 01 61", "the end of a string within it"),
    ] {
        assert_eq!(decode(&mut Decoder::default(), &hex(block)), None, "{why}");
    }
}

#[test]
fn fields_that_may_not_be_sent_are_decoded_and_named() {
    let mut decoder = Decoder::default();
    // It enters the table so, and is no better when it comes again.
    assert_eq!(
        decode(&mut decoder, b"\x40\x01A\x01b\xbe").unwrap(),
        "A: b (malformed)\n".repeat(2)
    );
    for block in [
        &b"\x00\x01a\x01\n"[..],
        b"\x00\x01a\x01\0",
        b"\x00\x00\x01a",
        b"\x00\x01:\x01a",
        b"\x00\x03a b\x01c",
    ] {
        assert!(decode(&mut decoder, block).unwrap().contains("malformed"), "{block:?}");
    }
    assert_eq!(decode(&mut decoder, b"\x00\x05x-b~_\x02 \xff").unwrap(), "x-b~_:  \u{fffd}\n");
}

#[test]
fn an_entry_that_does_not_fit_empties_the_table() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, b"\x40\x01a\x01b").unwrap();
    assert_eq!(decoder.table_bytes(), 34);
    let mut block = b"\x40\x01a\x7f\x81\x1f".to_vec();
    block.extend([b'x'; 4096]);
    decode(&mut decoder, &block).unwrap();
    assert_eq!(decoder.table_bytes(), 0);
    assert_eq!(decode(&mut decoder, b"\xbe"), None);
}

#[test]
fn every_symbol_of_huffmans_code_decodes_to_itself() {
    // The code of each, from the lengths alone, and padding behind it.
    let (mut code, mut symbols) = (0_u64, huffman::SYMBOLS.iter());
    for (bits, count) in huffman::CODES_OF_LENGTH.iter().enumerate() {
        code <<= 1;
        for _ in 0..*count {
            let Some(symbol) = symbols.next() else { break };
            let padded = ((code + 1) << (40 - bits)) - 1;
            let mut out = Vec::new();
            let bytes = &padded.to_be_bytes()[3..][..bits.div_ceil(8)];
            huffman::decode(bytes, &mut out).unwrap();
            assert_eq!(out, [*symbol]);
            code += 1;
        }
    }
    assert!(symbols.next().is_none());
}

const ANSWER: [Outgoing<'_>; 2] = [Outgoing::Status(200), Outgoing::GrpcContent];

#[test]
fn what_all_answers_share_becomes_a_byte_each() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let head = ":status: 200\ncontent-type: application/grpc\n";
    for bytes in [32, 2, 2] {
        let mut block = Vec::new();
        encoder.encode(&ANSWER, &mut block);
        assert_eq!(block.len(), bytes);
        assert_eq!(decode(&mut decoder, &block).unwrap(), head);
        block.clear();
        encoder.encode(&[Outgoing::GrpcOk], &mut block);
        assert_eq!(block.len(), if bytes == 2 { 1 } else { 15 });
        assert_eq!(decode(&mut decoder, &block).unwrap(), "grpc-status: 0\n");
    }
    let mut block = Vec::new();
    encoder.encode(
        &[Outgoing::Status(404), Outgoing::Text("grpc-message", b"x"), Outgoing::GrpcContent],
        &mut block,
    );
    let expected = ":status: 404\ngrpc-message: x\ncontent-type: application/grpc\n";
    assert_eq!(decode(&mut decoder, &block).unwrap(), expected);
}

#[test]
fn the_encoder_keeps_to_the_peers_table_however_that_changes() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let sizes: [&[u32]; 8] =
        [&[], &[0], &[4096], &[103], &[104], &[u32::MAX], &[0, 4096], &[200, 4096, 300]];
    for sizes in sizes {
        for bytes in sizes {
            encoder.set_table_bytes_max(*bytes);
        }
        for _ in 0..3 {
            let mut block = Vec::new();
            encoder.encode(&[&ANSWER[..], &[Outgoing::GrpcOk]].concat(), &mut block);
            let expected = ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n";
            assert_eq!(decode(&mut decoder, &block).unwrap(), expected, "{sizes:?}");
            if let Some(smallest) = sizes.iter().min() {
                assert!(decoder.table_bytes() <= *smallest as usize || sizes.len() > 1);
            }
        }
    }
}

#[test]
fn no_bytes_make_it_panic_and_the_table_stays_bounded() {
    let mut random = fastrand::Rng::with_seed(7541);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut decoder = Decoder::default();
        for _ in 0..4 {
            let block: Vec<u8> = (0..random.usize(..40))
                .map(|_| {
                    if random.bool() {
                        random.u8(..)
                    } else {
                        *random.choice(b"\x40\x01\x82\xbe\x3f\x20a").unwrap_or(&0)
                    }
                })
                .collect();
            refused += usize::from(decode(&mut decoder, &block).is_none());
            assert!(decoder.table_bytes() <= TABLE_BYTES);
        }
    }
    assert!((10_000..79_000).contains(&refused), "{refused} were refused: they say little");
}
