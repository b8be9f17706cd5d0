using System.Buffers.Binary;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;

namespace Vmm.Benchmarks;

/// <summary>The same guest on our vCPU: each exit goes through the vCPU's loop and the bus to a device that counts.</summary>
internal sealed class ExitContender : IContender, IBusDevice
{
    private const ulong MemoryBytes = 1 << 20;

    private readonly KvmSystem _system = KvmSystem.Open();
    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private readonly KvmVm _vm;
    private readonly KvmVcpu _vcpu;
    private readonly VcpuThread _loop;
    private uint _reads;

    internal ExitContender()
    {
        _vm = _system.CreateVm();
        _vm.SetMemory(_memory);
        _vcpu = _vm.CreateVcpu(0);
        _memory.TryWrite(RegisterReads.Address, RegisterReads.Code);
        _memory.TryGetSpan(0, (uint)MemoryBytes, out Span<byte> low);
        _vcpu.Enter(EntryMode.Protected, low, new KvmRegs { Rip = RegisterReads.Address });
        Bus mmio = new();
        mmio.Add(RegisterReads.Register, sizeof(uint), this);
        _loop = new VcpuThread(_vcpu, mmio, new Bus("port"), (_, _) => { });
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
        _vcpu.Dispose();
        _vm.Dispose();
        _memory.Dispose();
        _system.Dispose();
    }
}
