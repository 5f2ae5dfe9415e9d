//! What an adapter and the device opened on it can do for products.

use super::method::{Abilities, Fragments};

/// The cooperative matrices of an adapter that a shader here uses: f16 that adds up in f32, 16·16·16 rather than 8·8·8. Their subgroups are
/// all of one size, so that a workgroup knows how many it has; and only Vulkan's load rows of fours.
pub(crate) fn fragments_of(adapter: &wgpu::Adapter) -> Option<Fragments> {
    let (info, needed) = (adapter.get_info(), cooperative_features());
    let uniform = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size.is_power_of_two();
    if !adapter.features().contains(needed) || !uniform || info.backend != wgpu::Backend::Vulkan {
        return None;
    }
    let offered = adapter.cooperative_matrix_properties();
    let fits = |size: u32| {
        offered.iter().any(|offer| {
            (offer.m_size, offer.n_size, offer.k_size) == (size, size, size)
                && offer.ab_type == wgpu::CooperativeScalarType::F16
                && offer.cr_type == wgpu::CooperativeScalarType::F32
        })
    };
    let size = [16, 8].into_iter().find(|&size| fits(size))?;
    Some(Fragments { size, subgroup: info.subgroup_min_size })
}

/// What shaders with cooperative matrices need of a device.
pub(crate) fn cooperative_features() -> wgpu::Features {
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP
}

/// What a device can do, opened on an adapter with these cooperative matrices.
pub(crate) fn abilities_of(device: &wgpu::Device, fragments: Option<Fragments>) -> Abilities {
    let (features, limits) = (device.features(), device.limits());
    Abilities {
        f16: features.contains(wgpu::Features::SHADER_F16),
        cooperative: fragments.filter(|_| features.contains(cooperative_features())),
        workgroup_bytes_max: limits.max_compute_workgroup_storage_size,
        invocations_max: limits.max_compute_invocations_per_workgroup,
        binding_bytes_max: limits.max_storage_buffer_binding_size,
    }
}
