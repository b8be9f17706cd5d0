using Iced.Intel;
using Vmm.Devices.Kvm;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Devices.Tests.Kvm.KernelCode;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Machines with kernels of a few instructions, on real KVM, for tests that put them away and bring them back.</summary>
public abstract class KvmSavedMachines : IDisposable
{
    private protected const int MemoryBytes = 16 << 20;
    private protected const int Vector = Counter + 64;
    private protected const int Steps = 0x31_0000, Written = 0x40_0000, WrittenEnd = MemoryBytes;
    private protected const uint VectorMark = 0x1234_5678;
    private protected const int Marks = 0x80_0000;
    private protected readonly string _directory = Directory.CreateTempSubdirectory("vmm-snapshot-").FullName;
    private readonly List<DeviceHost> _hosts = [];
    private protected readonly List<(KvmMachine Machine, CancellationTokenSource Stop, Task<MachineResult> Run)> _running = [];

    private protected static CancellationToken End => TestContext.Current.CancellationToken;

    private protected string Snapshot => Path.Combine(_directory, "saved");

    public void Dispose()
    {
        foreach ((KvmMachine machine, CancellationTokenSource stop, Task<MachineResult> run) in _running)
        {
            stop.Cancel();
            run.Wait(KvmGuest.Watchdog);
            machine.Dispose();
            stop.Dispose();
        }
        foreach (DeviceHost host in _hosts) host.Dispose();
        Directory.Delete(_directory, recursive: true);
        GC.SuppressFinalize(this);
    }

    private protected KvmMachine Boot(int vcpus = 1, Action<Assembler>? kernel = null)
    {
        string path = Path.Combine(_directory, "kernel");
        File.WriteAllBytes(path, ElfFile.Of(KernelCode.Assemble(32, kernel ?? CountEverywhere), pvh: true));
        return Make(new KvmMachineOptions { Boot = new BootSource(path), Vcpus = vcpus, MemoryBytes = MemoryBytes });
    }

    private protected KvmMachine GoOn(string snapshot) => Make(KvmMachineOptions.GoingOn(MachineSnapshot.Open(snapshot)));

    private protected KvmMachine Make(KvmMachineOptions options)
    {
        DeviceHost host = new(new KvmBoard(options));
        _hosts.Add(host);
        host.AddSerial("ttyS0", new SerialPortOptions());
        return new KvmMachine(host);
    }

    private protected void Start(KvmMachine machine)
    {
        CancellationTokenSource stop = new();
        _running.Add((machine, stop, Task.Run(() => machine.Run(stop.Token), CancellationToken.None)));
    }

    /// <summary>Writes the number of its pass into one page after the other, and counts its steps.</summary>
    private protected static void WriteEverywhere(Assembler c)
    {
        Label pass = c.CreateLabel(), step = c.CreateLabel();
        c.xor(esi, esi);
        c.Label(ref pass);
        c.inc(esi);
        c.mov(edi, Written);
        c.Label(ref step);
        c.mov(__dword_ptr[edi], esi);
        c.inc(__dword_ptr[Steps]);
        c.add(edi, 4096);
        c.cmp(edi, WrittenEnd);
        c.jne(step);
        c.jmp(pass);
    }

    /// <summary>Counts in a register and in memory, and writes what it keeps in a vector register beside.</summary>
    private protected static void CountEverywhere(Assembler c)
    {
        Label loop = c.CreateLabel();
        c.mov(eax, cr4);
        c.or(eax, 0x600);
        c.mov(cr4, eax);
        c.mov(eax, cr0);
        c.and(eax, ~4);
        c.or(eax, 2);
        c.mov(cr0, eax);
        // Instructions that a KVM which emulates a guest knows too.
        c.mov(__dword_ptr[Vector], VectorMark);
        c.movdqu(xmm3, __xmmword_ptr[Vector]);
        c.xor(esi, esi);
        c.Label(ref loop);
        c.inc(esi);
        c.mov(__dword_ptr[Counter], esi);
        c.movdqu(__xmmword_ptr[Vector], xmm3);
        c.jmp(loop);
    }

    private protected static void Flip(string path, long place)
    {
        using FileStream file = new(path, FileMode.Open);
        file.Position = place;
        int value = file.ReadByte();
        file.Position = place;
        file.WriteByte((byte)(value ^ 1));
    }

    private protected sealed class Progress(Action<SnapshotProgress> report) : IProgress<SnapshotProgress>
    {
        public void Report(SnapshotProgress value) => report(value);
    }
}
