using System.Buffers.Binary;
using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>The same guest on our vCPU: each exit goes through the vCPU's loop and the bus to a device that counts.</summary>
internal sealed class ExitContender : IContender, IBusDevice
{
    private readonly BareMachine _machine = new(RegisterReads.Address, RegisterReads.Code);
    private readonly VcpuThread _loop;
    private uint _reads;

    internal ExitContender()
    {
        Bus mmio = new();
        mmio.Add(RegisterReads.Register, sizeof(uint), this);
        _loop = new VcpuThread(_machine.Vcpu, mmio, new Bus("port"), (_, _) => { });
    }

    public void Run(long operations)
    {
        for (long i = 0; i < operations; i++)
        {
            if (!_loop.TryRunOnce(out VcpuEnd end)) throw new InvalidOperationException($"the guest ended: {end}");
        }
    }

    public void Read(ulong offset, Span<byte> data) => BinaryPrimitives.WriteUInt32LittleEndian(data, ++_reads);

    public void Write(ulong offset, ReadOnlySpan<byte> data) => throw new InvalidOperationException("the guest only reads");

    public void Dispose()
    {
        _loop.Dispose();
        _machine.Dispose();
    }
}
