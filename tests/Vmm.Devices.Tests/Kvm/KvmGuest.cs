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
    internal const int Vector = 0x40;
    private const ushort HandlerAddress = 0x3000;
    private const int GateTable = 0x4000;
    private const int TableRegister = 0x5000;
    private const uint IoApic = 0xfec0_0000;
    private const uint LocalApic = 0xfee0_0000;
    private const uint EndOfInterrupt = 0xb0;
    private const uint SpuriousVector = 0xf0;
    internal static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private readonly TaskCompletionSource<VcpuEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private VcpuThread? _thread;

    internal KvmGuest(Action<KvmVm>? prepare = null, bool logDirtyPages = false)
    {
        System = KvmSystem.Open();
        Vm = System.CreateVm();
        Vm.SetMemory(_memory, logDirtyPages);
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
    internal GuestMemory GuestMemory => _memory;
    internal Span<byte> Memory => _memory.TryGetSpan(0, MemoryBytes, out Span<byte> all) ? all : throw new InvalidOperationException();

    internal uint DataWord(int index = 0) =>
        Volatile.Read(ref MemoryMarshal.Cast<byte, uint>(Memory.Slice(DataAddress, 4096))[index]);

    /// <summary>Assembles the guest's program and sets the vCPU to its start.</summary>
    internal KvmGuest Load(EntryMode mode, Action<Assembler> write)
    {
        Assemble(mode, CodeAddress, write);
        Vcpu.Enter(mode, Memory, new KvmRegs { Rip = CodeAddress, Rsp = StackTop });
        return this;
    }

    /// <summary>Assembles code to an address.</summary>
    internal void Assemble(EntryMode mode, ushort address, Action<Assembler> write) =>
        KernelCode.Assemble(mode switch { EntryMode.Real => 16, EntryMode.Protected => 32, _ => 64 }, write, address).CopyTo(Memory[address..]);

    /// <summary>
    /// Makes a 64-bit program that handles interrupts: the vector's gate, the local APIC and a pin of the I/O APIC are set up before <paramref name="program"/>,
    /// <paramref name="handler"/> runs for each interrupt and is ended by us.
    /// </summary>
    internal KvmGuest LoadWithInterrupt(uint pin, bool level, Action<Assembler> handler, Action<Assembler> program)
    {
        Assemble(EntryMode.Long, HandlerAddress, c =>
        {
            c.push(rax);
            c.push(rbx);
            handler(c);
            c.mov(eax, LocalApic + EndOfInterrupt);
            c.mov(__dword_ptr[rax], 0);
            c.pop(rbx);
            c.pop(rax);
            c.iretq();
        });
        SetGate(Vector);
        BitConverter.TryWriteBytes(Memory[TableRegister..], (ushort)0xfff);
        BitConverter.TryWriteBytes(Memory[(TableRegister + 2)..], (ulong)GateTable);
        return Load(EntryMode.Long, c =>
        {
            c.lidt(__[TableRegister]);
            // A line goes to the 8259 as well, which nobody set up: mask it.
            c.mov(al, 0xff);
            c.@out(0x21, al);
            c.@out(0xa1, al);
            c.mov(eax, LocalApic + SpuriousVector);
            c.mov(__dword_ptr[rax], 0x1ff);
            c.mov(eax, IoApic);
            c.mov(__dword_ptr[rax], 0x10 + 2 * pin);
            c.mov(__dword_ptr[rax + 0x10], Vector | (level ? 1u << 15 : 0));
            c.mov(__dword_ptr[rax], 0x11 + 2 * pin);
            c.mov(__dword_ptr[rax + 0x10], 0);
            program(c);
        });
    }

    /// <summary>Has the handler of <see cref="LoadWithInterrupt"/> run for a vector: a present 64-bit interrupt gate to our code segment.</summary>
    internal void SetGate(int vector) =>
        BitConverter.TryWriteBytes(Memory[(GateTable + vector * 16)..], HandlerAddress | (0x10ul << 16) | (0x8e00ul << 32));

    /// <summary>The same state with other pending events.</summary>
    internal static KvmVcpuState With(KvmVcpuState state, KvmVcpuEvents events) => new()
    {
        MpState = state.MpState,
        Registers = state.Registers,
        SystemRegisters = state.SystemRegisters,
        Xsave = state.Xsave,
        Xcrs = state.Xcrs,
        DebugRegisters = state.DebugRegisters,
        Msrs = state.Msrs,
        Events = events,
        Lapic = state.Lapic,
    };

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

    public void Dispose()
    {
        _thread?.Dispose();
        Vcpu.Dispose();
        Vm.Dispose();
        System.Dispose();
        _memory.Dispose();
    }

    /// <summary>Ends a guest that is to be stopped from outside.</summary>
    internal static void Spin(Assembler c)
    {
        Label loop = c.CreateLabel();
        c.Label(ref loop);
        c.jmp(loop);
    }

    /// <summary>Ends a guest that has one: a triple fault, by an interrupt with no table.</summary>
    internal static void TripleFault(Assembler c)
    {
        c.lidt(__[DataAddress + 0x800]);
        c.ud2();
    }
}
