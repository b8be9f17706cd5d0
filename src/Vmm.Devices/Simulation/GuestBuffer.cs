namespace Vmm.Devices.Simulation;

/// <summary>A buffer as a driver names it.</summary>
/// <param name="Address">Guest-physical.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct GuestBuffer(ulong Address, uint Length);

/// <summary>A chain the device gave back.</summary>
/// <param name="Id">What <see cref="DriverQueue.TryAdd"/> named it.</param>
/// <param name="Written">Bytes the device says it wrote.</param>
internal readonly record struct UsedChain(ushort Id, uint Written);
