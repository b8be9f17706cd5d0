using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>A board of 64 MiB whose interrupt lines count.</summary>
internal sealed class TestBoard : IMachineBoard
{
    private readonly CountingLine[] _lines = [.. Enumerable.Range(0, 64).Select(_ => new CountingLine())];

    private readonly bool _ownsMemory;

    /// <summary>A board with memory of its own.</summary>
    internal TestBoard() : this(GuestMemory.Create(64 << 20)) => _ownsMemory = true;

    /// <summary>A board with the memory of another one, which gives it back.</summary>
    internal TestBoard(GuestMemory memory) => Memory = memory;

    public GuestMemory Memory { get; }

    public Bus Mmio { get; } = new("mmio");

    public Bus Ports { get; } = new("port");

    public DeviceSlots Slots { get; init; } = new(1UL << 40, 8, 56);

    public IMessageInterrupts? Messages => null;

    public IIoEventFds? Kicks { get; init; }

    internal bool IsDisposed { get; private set; }

    internal int InterruptsOn(int line) => _lines[line].Asserts;

    public IInterrupt Line(int number) => _lines[number];

    public void Map(GuestRegion region) => Assert.True(Memory.TryAdd(region, out _));

    public void Unmap(GuestRegion region) => Assert.True(Memory.Remove(region.GuestAddress));

    public void Dispose()
    {
        IsDisposed = true;
        if (_ownsMemory) Memory.Dispose();
    }
}
