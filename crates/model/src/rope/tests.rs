//! The angles of each kind of scaling, and where positions find theirs.

use super::*;

fn config(head_dim: usize, theta: f64, scaling: RopeScaling) -> LlamaConfig {
    let rope = Rope { theta, scaling };
    LlamaConfig { head_dim, rope, max_position_embeddings: 128, ..LlamaConfig::default() }
}

fn llama3(factor: f64) -> RopeScaling {
    RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192.0,
    }
}

/// ```python
/// config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=128,
///                      rope_theta=theta, rope_scaling=scaling)  # transformers 5.23
/// rotary = LlamaRotaryEmbedding(config)
/// rotary(torch.zeros(1, longest, 1), torch.arange(longest)[None])
/// rotary.inv_freq.numpy().view(numpy.uint32)
/// ```
#[test]
fn frequencies_are_those_of_transformers_to_the_bit() {
    let golden: [(LlamaConfig, usize, [u32; 8]); 5] = [
        (
            config(16, 100_000.0, RopeScaling::Default),
            10,
            [
                0x3f800000, 0x3e72d423, 0x3d6655c2, 0x3c5a7bf2, 0x3b4f3e38, 0x3a44948c, 0x393a7753,
                0x3830df52,
            ],
        ),
        (
            config(16, 10_000.0, RopeScaling::Linear { factor: 3.3 }),
            10,
            [
                0x3e9b26ca, 0x3dc440bc, 0x3cf83e10, 0x3c1d0097, 0x3b46980c, 0x3a7b3425, 0x399ee00b,
                0x38c8f684,
            ],
        ),
        (
            config(16, 10_000.0, RopeScaling::Dynamic { factor: 2.0 }),
            128,
            [
                0x3f800000, 0x3ea1e89b, 0x3dcccccd, 0x3d0186e3, 0x3c23d70a, 0x3b4f3e38, 0x3a83126f,
                0x39a5cb60,
            ],
        ),
        (
            config(16, 10_000.0, RopeScaling::Dynamic { factor: 2.0 }),
            500,
            [
                0x3f800000, 0x3e762e93, 0x3d6cbd8a, 0x3c63a936, 0x3b5aee04, 0x3a52888c, 0x394a7584,
                0x3842b1c2,
            ],
        ),
        (
            config(16, 500_000.0, llama3(8.0)),
            10,
            [
                0x3f800000, 0x3e4693b0, 0x3d1a08c8, 0x3beef74f, 0x3a0995d2, 0x380fc8f8, 0x36df10c4,
                0x35ad07a7,
            ],
        ),
    ];
    for (config, longest, wanted) in golden {
        let found = config.rope.frequencies(&config, longest);
        assert_eq!(found, wanted.map(f32::from_bits), "{:?}", config.rope);
    }
}

#[test]
fn only_long_sequences_under_dynamic_scaling_have_angles_of_their_own() {
    let plain = config(16, 10_000.0, RopeScaling::Default);
    let (angles, first_rows) = rope_angles(&plain, &[3, 300, 7]).unwrap();
    assert_eq!((angles.positions(), first_rows), (300, vec![0, 0, 0]));
    let dynamic = config(16, 10_000.0, RopeScaling::Dynamic { factor: 2.0 });
    let (angles, first_rows) = rope_angles(&dynamic, &[128, 300, 7, 200]).unwrap();
    assert_eq!((angles.positions(), first_rows), (128 + 300 + 200, vec![0, 128, 0, 428]));
}

#[test]
fn llama_3_scaling_is_recovered_from_the_factors_that_llama_cpp_stores() {
    for (factor, length) in [(8.0, 8192.0), (32.0, 8192.0), (4.0, 4096.0)] {
        // The formula of llama.cpp's converter.
        let factors = (0..64).map(|pair| {
            let wavelength = 2.0 * PI * 500_000f64.powf(f64::from(pair) / 64.0);
            if wavelength < length / 4.0 {
                1.0
            } else if wavelength > length {
                factor as f32
            } else {
                let smooth = (length / wavelength - 1.0) / 3.0;
                (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
            }
        });
        let factors: Vec<f32> = factors.collect();
        let wanted = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: length,
        };
        assert_eq!(RopeScaling::from_factors(&factors, 500_000.0, 128), Some(wanted));
        let mut altered = factors.clone();
        altered[40] *= 1.001;
        assert_eq!(RopeScaling::from_factors(&altered, 500_000.0, 128), None);
        assert_eq!(RopeScaling::from_factors(&factors, 10_000.0, 128), None);
    }
    assert_eq!(RopeScaling::from_factors(&[1.0; 64], 500_000.0, 128), Some(RopeScaling::Default));
    assert_eq!(RopeScaling::from_factors(&[], 500_000.0, 0), Some(RopeScaling::Default));
}
