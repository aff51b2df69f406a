//! Matrix products by cuBLAS: bf16 or f32 in, f32 sums, in place where they accumulate.

use std::ffi::{c_int, c_void};

use candle_core::cuda_backend::cudarc::cublas::{result, sys};

use candle_core::Tensor;
use candle_core::cuda_backend::CudaDevice;

use super::{Engine, Operand};
use crate::launch::{Compute, Gpu};
use crate::{Error, Result};

/// Forbids cuBLAS to add the parts of a product that it has split in the type of the output.
pub(super) fn keep_sums_wide(device: &CudaDevice) -> Result<()> {
    let mode = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    // SAFETY: the handle is alive as long as the device.
    let status = unsafe { sys::cublasSetMathMode(*device.cublas_handle().handle(), mode) };
    let failed = |error| Error::Cuda {
        what: "set how products are summed".to_owned(),
        message: format!("{error:?}"),
    };
    status.result().map_err(failed)
}

impl Compute {
    fn cuda(self) -> sys::cudaDataType {
        match self {
            Self::F32 => sys::cudaDataType::CUDA_R_32F,
            Self::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        }
    }
}

impl Engine {
    /// `out (rows, columns) = a (rows, inner) b (inner, columns)`, or `out += …`; `out` is whole.
    ///
    /// Row-major matrices are the transposes of the column-major ones that cuBLAS knows, so it is
    /// asked for `outᵀ = bᵀ aᵀ`.
    pub(crate) fn product(
        &self,
        out: &Tensor,
        a: Operand,
        b: Operand,
        [rows, columns, inner]: [usize; 3],
        accumulate: bool,
    ) -> Result<()> {
        if rows == 0 || columns == 0 || (inner == 0 && accumulate) {
            return Ok(());
        }
        if inner == 0 {
            return self.zero(self.at(out)?, rows * columns * Compute::of(out)?.size());
        }
        let size = |number: usize| c_int::try_from(number).map_err(|_| Error::TooLarge { number });
        let operation = |operand: Operand| match operand.transposed {
            false => sys::cublasOperation_t::CUBLAS_OP_N,
            true => sys::cublasOperation_t::CUBLAS_OP_T,
        };
        let (one, beta) = (1f32, if accumulate { 1f32 } else { 0f32 });
        let (place, compute, pitch) = (self.at(out)?, Compute::of(out)?, columns);
        let handle = self.device.cublas_handle();
        let (m, n, k) = (size(columns)?, size(rows)?, size(inner)?);
        let (a_pitch, b_pitch, pitch) = (size(a.pitch)?, size(b.pitch)?, size(pitch)?);
        let named = || {
            let operations = 2.0 * rows as f64 * columns as f64 * inner as f64;
            (format!("product {rows}x{columns}x{inner}"), operations)
        };
        self.clock.time(&self.stream, named, || {
            // SAFETY: the operands' addresses, types and pitches are those of live matrices of these
            // sizes.
            unsafe {
                result::gemm_ex(
                    *handle.handle(),
                    operation(b),
                    operation(a),
                    m,
                    n,
                    k,
                    (&raw const one).cast::<c_void>(),
                    b.at.0 as *const c_void,
                    b.compute.cuda(),
                    b_pitch,
                    a.at.0 as *const c_void,
                    a.compute.cuda(),
                    a_pitch,
                    (&raw const beta).cast::<c_void>(),
                    place.0 as *mut c_void,
                    compute.cuda(),
                    pitch,
                    sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                    sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
                )
            }
            .map_err(|error| Error::Cuda {
                what: "multiply matrices".to_owned(),
                message: format!("{error:?}"),
            })
        })
    }
}
