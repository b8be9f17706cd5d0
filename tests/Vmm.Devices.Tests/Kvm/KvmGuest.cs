using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>A hand-made guest on real KVM: 2 MiB of memory at address 0, one vCPU, code written with an assembler.</summary>
internal sealed class KvmGuest : IDisposable
{
    internal const int MemoryBytes = 2 << 20;
    internal const ushort CodeAddress = 0x1000;
    internal const ulong StackTop = 0x8000;
    /// <summary>Where guests keep what the test looks at: below the code's end of 64 KiB, above page tables.</summary>
    internal const int DataAddress = 0x1_0000;
    internal static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    private readonly unsafe byte* _memory = (byte*)NativeMemory.AlignedAlloc(MemoryBytes, 4096);
    private readonly TaskCompletionSource<VcpuEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private VcpuThread? _thread;

    internal unsafe KvmGuest(Action<KvmVm>? prepare = null)
    {
        Memory.Clear();
        System = KvmSystem.Open();
        Vm = System.CreateVm();
        Vm.SetMemorySlot(0, 0, MemoryBytes, (nuint)_memory);
        prepare?.Invoke(Vm);
        Vcpu = Vm.CreateVcpu(0);
        Vcpu.SetCpuid(System.GetSupportedCpuid());
    }

    internal static KvmGuest WithInterrupts() => new(vm => vm.CreateInterruptControllers());

    internal KvmSystem System { get; }
    internal KvmVm Vm { get; }
    internal KvmVcpu Vcpu { get; }
    internal Bus Mmio { get; } = new("mmio");
    internal Bus Port { get; } = new("port");
    internal VcpuThread Thread => _thread ?? throw new InvalidOperationException("the guest was not started");
    internal unsafe Span<byte> Memory => new(_memory, MemoryBytes);

    internal unsafe uint DataWord(int index = 0) => Volatile.Read(ref *(uint*)(_memory + DataAddress + index * sizeof(uint)));

    /// <summary>Assembles the guest's program and sets the vCPU to its start.</summary>
    internal KvmGuest Load(EntryMode mode, Action<Assembler> write)
    {
        Assembler assembler = new(mode switch { EntryMode.Real => 16, EntryMode.Protected => 32, _ => 64 });
        write(assembler);
        MemoryStream code = new();
        assembler.Assemble(new StreamCodeWriter(code), CodeAddress);
        code.ToArray().CopyTo(Memory[CodeAddress..]);
        Vcpu.Enter(mode, Memory, new KvmRegs { Rip = CodeAddress, Rsp = StackTop });
        return this;
    }

    internal void Start()
    {
        _thread = new VcpuThread(Vcpu, Mmio, Port, (_, end) => _end.TrySetResult(end));
        _thread.Start();
    }

    internal Task<VcpuEnd> End() => _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken);

    internal async Task<VcpuEnd> RunToEnd()
    {
        Start();
        return await End();
    }

    /// <summary>Waits until the guest wrote a value, or the watchdog barks.</summary>
    internal void WaitForData(uint value, int index = 0) =>
        Assert.True(SpinWait.SpinUntil(() => DataWord(index) == value, Watchdog), $"the guest's word {index} is {DataWord(index)}, not {value}");

    public unsafe void Dispose()
    {
        _thread?.Dispose();
        Vcpu.Dispose();
        Vm.Dispose();
        System.Dispose();
        NativeMemory.AlignedFree(_memory);
    }

    /// <summary>Ends a guest that has no interrupt controller in the kernel.</summary>
    internal static void Halt(Assembler c) => c.hlt();

    /// <summary>Ends a guest that has one: a triple fault, by an interrupt with no table.</summary>
    internal static void TripleFault(Assembler c)
    {
        c.lidt(__[DataAddress + 0x800]);
        c.ud2();
    }
}
