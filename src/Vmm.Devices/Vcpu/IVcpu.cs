namespace Vmm.Devices;

/// <summary>Why a vCPU stopped running guest code.</summary>
public enum VcpuExitKind
{
    /// <summary>The guest reads device memory; the answer goes into <see cref="VcpuExit.Data"/>.</summary>
    MmioRead,
    /// <summary>The guest writes device memory.</summary>
    MmioWrite,
    /// <summary>The guest reads a port; the answer goes into <see cref="VcpuExit.Data"/>.</summary>
    PortRead,
    /// <summary>The guest writes a port.</summary>
    PortWrite,
    /// <summary>The guest halted with no interrupt controller in the kernel to wake it.</summary>
    Halt,
    /// <summary>The guest shut down: triple fault.</summary>
    Shutdown,
    /// <summary>
    /// The guest asked for power-off or reset by a firmware interface; <see cref="VcpuExit.Address"/> holds the kind of event.
    /// </summary>
    SystemEvent,
    /// <summary>Someone asked the vCPU to come out (<see cref="IVcpu.RequestExit"/>).</summary>
    Interrupted,
    /// <summary>The vCPU can't go on: internal error or failed entry; <see cref="VcpuExit.Address"/> holds the reason's number.</summary>
    Failed,
}

/// <summary>One exit. Valid until the vCPU runs again; read answers are written into <see cref="Data"/> before that.</summary>
public readonly ref struct VcpuExit(VcpuExitKind kind, ulong address, Span<byte> data, int width)
{
    /// <summary>Why.</summary>
    public VcpuExitKind Kind { get; } = kind;

    /// <summary>Guest-physical address or port number; for other kinds see there.</summary>
    public ulong Address { get; } = address;

    /// <summary>The bytes of the access, little-endian: <see cref="Width"/> of them, or a multiple for string port I/O.</summary>
    public Span<byte> Data { get; } = data;

    /// <summary>Bytes of one access: 1, 2, 4 or 8.</summary>
    public int Width { get; } = width;
}

/// <summary>A virtual CPU, simulated or of KVM. Its thread loops: run, hand the exit to the bus, run.</summary>
public interface IVcpu : IDisposable
{
    /// <summary>Its number, from 0.</summary>
    int Index { get; }

    /// <summary>Runs guest code until it needs the host. Called by the vCPU's own thread only.</summary>
    VcpuExit Run();

    /// <summary>
    /// Makes <see cref="Run"/> return with <see cref="VcpuExitKind.Interrupted"/>, now or at once when it is next called. Any thread; never
    /// lost.
    /// </summary>
    void RequestExit();
}
