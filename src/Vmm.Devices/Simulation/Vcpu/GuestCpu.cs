using System.Buffers.Binary;
using System.Diagnostics;

namespace Vmm.Devices.Simulation;

/// <summary>
/// A simulated CPU as its guest software sees it: instructions to await. What the CPU does by itself completes at once; what needs the host
/// suspends the program until the host has answered. Only the CPU's own program uses it, one instruction at a time.
/// </summary>
internal sealed class GuestCpu
{
    private readonly SimulatedInterrupts _controller;
    private readonly CpuInterrupts _interrupts;
    private readonly SimulatedIoEventFds _kicks;
    private readonly byte[] _data = new byte[sizeof(ulong)];
    private Action? _resume;
    private int _exitRequested;

    internal GuestCpu(int index, GuestMemory memory, SimulatedInterrupts controller, SimulatedIoEventFds kicks)
    {
        Index = index;
        Memory = memory;
        _controller = controller;
        _interrupts = controller.Of(index);
        _kicks = kicks;
    }

    /// <summary>The CPU's number, from 0.</summary>
    public int Index { get; }

    /// <summary>CPUs of the machine.</summary>
    public int Count => _controller.CpuCount;

    /// <summary>The machine's memory: loads and stores to it never leave the guest.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Loads a byte of device memory.</summary>
    public GuestLoad<byte> Read8(ulong address) => Load<byte>(VcpuExitKind.MmioRead, address, sizeof(byte));

    /// <summary>Loads 2 bytes of device memory.</summary>
    public GuestLoad<ushort> Read16(ulong address) => Load<ushort>(VcpuExitKind.MmioRead, address, sizeof(ushort));

    /// <summary>Loads 4 bytes of device memory.</summary>
    public GuestLoad<uint> Read32(ulong address) => Load<uint>(VcpuExitKind.MmioRead, address, sizeof(uint));

    /// <summary>Loads 8 bytes of device memory.</summary>
    public GuestLoad<ulong> Read64(ulong address) => Load<ulong>(VcpuExitKind.MmioRead, address, sizeof(ulong));

    /// <summary>Stores a byte to device memory.</summary>
    public GuestStore Write8(ulong address, byte value) => Store(address, sizeof(byte), value);

    /// <summary>Stores 2 bytes to device memory.</summary>
    public GuestStore Write16(ulong address, ushort value) => Store(address, sizeof(ushort), value);

    /// <summary>Stores 4 bytes to device memory.</summary>
    public GuestStore Write32(ulong address, uint value) => Store(address, sizeof(uint), value);

    /// <summary>Stores 8 bytes to device memory.</summary>
    public GuestStore Write64(ulong address, ulong value) => Store(address, sizeof(ulong), value);

    /// <summary>Reads a byte from a port.</summary>
    public GuestLoad<byte> In8(ushort port) => Load<byte>(VcpuExitKind.PortRead, port, sizeof(byte));

    /// <summary>Reads 4 bytes from a port.</summary>
    public GuestLoad<uint> In32(ushort port) => Load<uint>(VcpuExitKind.PortRead, port, sizeof(uint));

    /// <summary>Writes a byte to a port.</summary>
    public GuestStore Out8(ushort port, byte value)
    {
        Prepare(VcpuExitKind.PortWrite, port, sizeof(byte), value);
        return new GuestStore(this, completed: false);
    }

    /// <summary>Writes 4 bytes to a port.</summary>
    public GuestStore Out32(ushort port, uint value)
    {
        Prepare(VcpuExitKind.PortWrite, port, sizeof(uint), value);
        return new GuestStore(this, completed: false);
    }

    /// <summary>Waits until an interrupt is pending; at once if one is.</summary>
    public GuestStore Halt()
    {
        IsHalted = true;
        return new GuestStore(this, CompletesAtOnce(_interrupts.HasPending));
    }

    /// <summary>Lets the host have the CPU if it asked for it. To be awaited in loops that need nothing else of the host.</summary>
    public GuestStore Pause() => new(this, CompletesAtOnce(true));

    /// <summary>Takes the lowest pending interrupt.</summary>
    /// <returns>False if none is pending.</returns>
    public bool TryTakeInterrupt(out int vector) => _interrupts.TryTake(out vector);

    /// <summary>Interrupts a CPU.</summary>
    public void SendInterrupt(int cpu, int vector) => _controller.Raise(cpu, vector);

    /// <summary>The access the program waits for; <see cref="VcpuExitKind.Interrupted"/> if it waits for none.</summary>
    internal VcpuExitKind Pending { get; private set; } = VcpuExitKind.Interrupted;

    /// <summary>Address or port of the access.</summary>
    internal ulong Address { get; private set; }

    /// <summary>The bytes of the access.</summary>
    internal Span<byte> Data => _data.AsSpan(0, Width);

    /// <summary>Bytes of the access.</summary>
    internal int Width { get; private set; }

    /// <summary>Whether the program waits for an interrupt.</summary>
    internal bool IsHalted { get; private set; }

    /// <summary>Whether the program waits at an instruction.</summary>
    internal bool IsSuspended => _resume is not null;

    internal CpuInterrupts Interrupts => _interrupts;

    internal bool IsExitRequested => Volatile.Read(ref _exitRequested) != 0;

    internal void RequestExit()
    {
        Volatile.Write(ref _exitRequested, 1);
        _interrupts.Wake();
    }

    internal bool TakeExitRequest() => Interlocked.Exchange(ref _exitRequested, 0) != 0;

    /// <summary>The instruction is done: runs the program to its next one that needs the host.</summary>
    internal void Resume()
    {
        Action resume = _resume!;
        _resume = null;
        Pending = VcpuExitKind.Interrupted;
        resume();
    }

    internal void Suspend(Action resume)
    {
        if (_resume is not null)
            throw new InvalidOperationException($"the program of CPU {Index} awaits two instructions at once");
        _resume = resume;
    }

    internal void Finish() => IsHalted = false;

    internal ulong Loaded => BinaryPrimitives.ReadUInt64LittleEndian(_data);

    /// <summary>An instruction that needs no host still suspends when the host wants the CPU: a busy program can be stopped.</summary>
    private bool CompletesAtOnce(bool ready) => ready && !IsExitRequested;

    private GuestLoad<T> Load<T>(VcpuExitKind kind, ulong address, int width) where T : unmanaged
    {
        Prepare(kind, address, width, 0);
        return new GuestLoad<T>(this);
    }

    private GuestStore Store(ulong address, int width, ulong value)
    {
        if (_kicks.TrySignal(address, width, value)) return Pause();
        Prepare(VcpuExitKind.MmioWrite, address, width, value);
        return new GuestStore(this, completed: false);
    }

    private void Prepare(VcpuExitKind kind, ulong address, int width, ulong value)
    {
        Debug.Assert(Pending == VcpuExitKind.Interrupted, "the instruction before this one was not awaited");
        Pending = kind;
        Address = address;
        Width = width;
        BinaryPrimitives.WriteUInt64LittleEndian(_data, value);
    }
}
