using Vmm.Events;

namespace Vmm.Devices;

/// <summary>How a virtio-mmio transport behaves beyond its device. Read once, when the transport is made.</summary>
internal sealed record VirtioMmioOptions
{
    /// <summary>
    /// The reactor that serves each queue, by the queue's number: one for each. Empty: the device's own reactor serves them all, as for any
    /// device whose queues share state.
    /// </summary>
    internal IReadOnlyList<RemoteEndpoint> QueueReactors { get; init; } = [];

    /// <summary>
    /// The feature bits of rings and transport that are offered beside VERSION_1. NOTIFICATION_DATA is understood but not offered by
    /// default: a kick that carries data matches no ioeventfd, so that each would be an exit.
    /// </summary>
    internal ulong CommonFeatures { get; init; } =
        VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.PackedRing | VirtioFeatures.RingReset;

    /// <summary>
    /// Longest time a vCPU that writes 0 to the status waits for the device to be quiet. Zero does not wait: a driver then has to read the
    /// status until it is 0 before it reuses its memory, as the specification asks (virtio 1.2 § 4.2.3.1.1). Linux does not read it.
    /// </summary>
    internal TimeSpan ResetWait { get; init; }
}
