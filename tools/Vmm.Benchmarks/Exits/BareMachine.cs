using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;

namespace Vmm.Benchmarks;

/// <summary>A VM with one vCPU and 1 MiB of memory, about to run some 32-bit code; no interrupt controller.</summary>
internal sealed class BareMachine : IDisposable
{
    private const ulong MemoryBytes = 1 << 20;

    private readonly KvmSystem _system = KvmSystem.Open();
    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private readonly KvmVm _vm;

    /// <param name="address">Of the code, in the memory.</param>
    /// <param name="code">What it runs.</param>
    internal BareMachine(ushort address, ReadOnlySpan<byte> code)
    {
        _vm = _system.CreateVm();
        _vm.SetMemory(_memory);
        Vcpu = _vm.CreateVcpu(0);
        _memory.TryWrite(address, code);
        _memory.TryGetSpan(0, (uint)MemoryBytes, out Span<byte> low);
        Vcpu.Enter(EntryMode.Protected, low, new KvmRegs { Rip = address });
    }

    internal KvmVcpu Vcpu { get; }

    /// <summary>What the guest has at an address.</summary>
    internal uint ReadWord(ulong address)
    {
        uint word = 0;
        _memory.TryRead(address, MemoryMarshal.AsBytes(new Span<uint>(ref word)));
        return word;
    }

    public void Dispose()
    {
        Vcpu.Dispose();
        _vm.Dispose();
        _memory.Dispose();
        _system.Dispose();
    }
}
