using Iced.Intel;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;
using Vmm.Events;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Devices.Tests.Kvm.KernelCode;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Machines on real KVM that are put away and brought back, with kernels of a few instructions.</summary>
public sealed class KvmSnapshotTests : KvmSavedMachines
{
    [KvmTheory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_machine_goes_on_in_others_where_it_was_saved(int vcpus)
    {
        KvmMachine first = Boot(vcpus);
        byte[] marks = new byte[3 * 4096];
        new Random(1).NextBytes(marks);
        Assert.True(first.Host.Memory.TryWrite(Marks, marks));
        Start(first);
        WaitForCount(first);
        SnapshotResult saved = await first.SaveAsync(Snapshot, cancel: End);
        Assert.Equal(Snapshot, saved.Directory);
        Assert.InRange(saved.BytesWritten, marks.Length, 2 << 20);
        Assert.Equal(["memory", "state.crc32c", "state.json"], Directory.GetFiles(Snapshot).Select(Path.GetFileName).Order());
        WaitForCount(first);

        string next = Snapshot;
        uint before = 0;
        for (int generation = 0; generation < 3; generation++)
        {
            KvmMachine machine = GoOn(next);
            uint at = Read(machine);
            Assert.True(at > before);
            byte[] found = new byte[marks.Length];
            Assert.True(machine.Host.Memory.TryRead(Marks, found));
            Assert.Equal(marks, found);
            // What is given back reads as zeros, and stays so.
            Assert.True(machine.Host.Memory.TryDiscard(Marks + (ulong)generation * 4096, 4096));
            marks.AsSpan(generation * 4096, 4096).Clear();
            // It comes back from the register.
            Assert.True(machine.Host.Memory.TryWrite(Vector, new byte[4]));
            Start(machine);
            WaitForCount(machine);
            machine.Pause();
            before = at;
            Assert.Equal(VectorMark, Read(machine, Vector));
            Assert.True(Read(machine) > at);
            machine.Resume();
            next = Snapshot + generation;
            await machine.SaveAsync(next, new SnapshotOptions { Stop = true }, End);
            Assert.Equal(MachineEnd.Saved, (await _running[^1].Run.WaitAsync(KvmGuest.Watchdog, End)).End);
            MachineSnapshot.Open(next).Verify(cancel: End);
        }
        // The first one has seen nothing of all this.
        MachineSnapshot.Open(Snapshot).Verify(cancel: End);
    }

    [KvmFact]
    public async Task A_machine_is_saved_before_its_first_instruction_and_while_it_is_paused()
    {
        KvmMachine first = Boot();
        await first.SaveAsync(Snapshot, cancel: End);
        Start(first);
        WaitForCount(first);
        first.Pause();
        uint paused = Read(first);
        await first.SaveAsync(Snapshot + "2", cancel: End);
        Assert.True(first.IsPaused);
        Assert.Equal(paused, Read(first));
        first.Resume();
        WaitForCount(first);

        KvmMachine fresh = GoOn(Snapshot);
        Assert.Equal(0u, Read(fresh));
        Start(fresh);
        WaitForCount(fresh);
        Assert.Equal(paused, Read(GoOn(Snapshot + "2")));
    }

    [KvmFact]
    public async Task Each_machine_that_goes_on_from_a_snapshot_has_a_generation_of_its_own()
    {
        KvmMachine first = Boot();
        await first.SaveAsync(Snapshot, cancel: End);
        Assert.Equal(4, new[] { first, GoOn(Snapshot), GoOn(Snapshot), GoOn(Snapshot) }.Select(machine =>
        {
            byte[] generation = new byte[BootLayout.GenerationIdBytes];
            Assert.True(machine.Host.Memory.TryRead(BootLayout.GenerationId, generation));
            return Convert.ToHexString(generation);
        }).Distinct().Count());
    }

    [KvmFact]
    public async Task A_machine_is_not_saved_where_something_is_or_twice_at_once_or_after_its_end()
    {
        KvmMachine machine = Boot();
        Start(machine);
        WaitForCount(machine);
        Directory.CreateDirectory(Snapshot);
        Assert.Contains("is there already", (await Assert.ThrowsAsync<IOException>(() => machine.SaveAsync(Snapshot, cancel: End))).Message);
        Assert.Contains("parent directory is not there",
            (await Assert.ThrowsAsync<IOException>(() => machine.SaveAsync(Path.Combine(Snapshot, "no", "such"), cancel: End))).Message);

        using ManualResetEventSlim begun = new(), goOn = new();
        // Not live: a guest whose page is saved first would go on.
        Task<SnapshotResult> slow = machine.SaveAsync(Snapshot + "1", new SnapshotOptions
        {
            Live = false,
            Progress = new Progress(_ =>
            {
                begun.Set();
                goOn.Wait(KvmGuest.Watchdog);
            }),
        }, End);
        Assert.True(begun.Wait(KvmGuest.Watchdog, End));
        Assert.Contains("being saved already", Assert.Throws<InvalidOperationException>(() => { _ = machine.SaveAsync(Snapshot + "2", cancel: End); }).Message);
        // A resume that is asked for now takes effect when its memory is written.
        machine.Resume();
        uint held = Read(machine);
        Thread.Sleep(20);
        Assert.Equal(held, Read(machine));
        goOn.Set();
        await slow.WaitAsync(KvmGuest.Watchdog, End);
        WaitForCount(machine);

        await _running[^1].Stop.CancelAsync();
        await _running[^1].Run.WaitAsync(KvmGuest.Watchdog, End);
        Assert.Contains("has ended", Assert.Throws<InvalidOperationException>(() => { _ = machine.SaveAsync(Snapshot + "3", cancel: End); }).Message);
    }

    [KvmFact]
    public async Task A_guest_that_writes_all_the_time_goes_on_while_it_is_saved_as_it_was_at_one_moment()
    {
        using (FaultWatch? watch = FaultWatch.TryOpen(out string refusal)) Assert.SkipWhen(watch is null, refusal);
        KvmMachine machine = Boot(kernel: WriteEverywhere);
        Start(machine);
        Assert.True(SpinWait.SpinUntil(() => Read(machine, Written) >= 2, KvmGuest.Watchdog), "the guest does not write");
        bool wentOn = false;
        SnapshotResult saved = await machine.SaveAsync(Snapshot, new SnapshotOptions
        {
            Progress = new Progress(_ =>
            {
                uint before = Read(machine, Steps);
                wentOn |= SpinWait.SpinUntil(() => Read(machine, Steps) != before, KvmGuest.Watchdog);
            }),
        }, End);
        Assert.True(wentOn, "the guest stood still while its memory was written");
        Assert.InRange(saved.BytesWritten, WrittenEnd - Written, 2 * MemoryBytes);

        MachineSnapshot snapshot = MachineSnapshot.Open(Snapshot);
        snapshot.Verify(cancel: End);
        StateReader vcpu = snapshot.Read().Record("kvm").Items("vcpus", 1)[0];
        ulong place = vcpu.UInt64("rdi"), pass = vcpu.UInt64("rsi");
        byte[] memory = File.ReadAllBytes(Path.Combine(Snapshot, "memory"));
        for (int page = Written; page < WrittenEnd; page += 4096)
        {
            // The page at the place itself was written already, or not yet.
            uint value = BitConverter.ToUInt32(memory, page);
            if (page != (int)place) Assert.Equal(page < (int)place ? pass : pass - 1, value);
        }
        KvmMachine goingOn = GoOn(Snapshot);
        uint steps = Read(goingOn, Steps);
        Start(goingOn);
        Assert.True(SpinWait.SpinUntil(() => Read(goingOn, Steps) - steps > 1000, KvmGuest.Watchdog), "it did not go on");
        // And the first one lost nothing of its memory: it can be saved again, and again.
        for (int i = 0; i < 3; i++)
        {
            await machine.SaveAsync($"{Snapshot}{i}", cancel: End);
            MachineSnapshot.Open($"{Snapshot}{i}").Verify(cancel: End);
        }
    }

    [KvmFact]
    public async Task A_save_that_is_given_up_leaves_nothing_and_the_machine_goes_on()
    {
        KvmMachine machine = Boot();
        Start(machine);
        WaitForCount(machine);
        using CancellationTokenSource cancel = new();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => machine.SaveAsync(Snapshot,
            new SnapshotOptions { Progress = new Progress(_ => cancel.Cancel()) }, cancel.Token));
        WaitForCount(machine);
        Assert.Equal(["kernel"], Directory.GetFileSystemEntries(_directory).Select(Path.GetFileName));
    }

    [KvmFact]
    public async Task What_is_left_of_a_killed_save_is_removed_by_the_next_one_and_strange_files_are_not()
    {
        KvmMachine machine = Boot();
        Directory.CreateDirectory(Snapshot + ".partial");
        File.WriteAllText(Path.Combine(Snapshot + ".partial", "memory"), "half");
        string strange = Path.Combine(Snapshot + ".partial", "letter");
        File.WriteAllText(strange, "mine");
        Assert.Contains("'" + strange + "' is already there", (await Assert.ThrowsAsync<IOException>(() => machine.SaveAsync(Snapshot, cancel: End))).Message);
        File.Delete(strange);
        await machine.SaveAsync(Snapshot, cancel: End);
        Assert.False(Path.Exists(Snapshot + ".partial"));
        MachineSnapshot.Open(Snapshot).Verify(cancel: End);
    }

    [KvmFact]
    public async Task A_snapshot_that_was_changed_is_refused_by_name()
    {
        KvmMachine machine = Boot();
        Assert.True(machine.Host.Memory.TryWrite(Marks, new byte[] { 1 }));
        await machine.SaveAsync(Snapshot, cancel: End);
        string memory = Path.Combine(Snapshot, "memory"), state = Path.Combine(Snapshot, "state.json");

        foreach (int place in (int[])[Marks, Marks + 0x10_0000])
        {
            Flip(memory, place);
            string wrong = Assert.Throws<StateException>(() => MachineSnapshot.Open(Snapshot).Verify(cancel: End)).Message;
            Assert.Contains($"bytes {place / (2 << 20) * (2 << 20)} to", wrong, StringComparison.Ordinal);
            Flip(memory, place);
        }
        MachineSnapshot.Open(Snapshot).Verify(cancel: End);

        Flip(state, 40);
        Assert.Contains("is not as it was saved", Assert.Throws<StateException>(() => MachineSnapshot.Open(Snapshot)).Message);
        Flip(state, 40);

        using (FileStream file = new(memory, FileMode.Open)) file.SetLength(MemoryBytes - 4096);
        Assert.Contains("it was cut short", Assert.Throws<StateException>(() => MachineSnapshot.Open(Snapshot)).Message);
        File.Delete(memory);
        Assert.Contains("a snapshot has the files", Assert.Throws<KernelException>(() => MachineSnapshot.Open(Snapshot)).Message);
        Directory.CreateDirectory(memory);
        Assert.Contains("no regular file", Assert.Throws<StateException>(() => MachineSnapshot.Open(Snapshot)).Message);
    }

    [KvmFact]
    public async Task A_machine_of_another_shape_is_refused_with_what_differs()
    {
        await Boot().SaveAsync(Snapshot, cancel: End);
        KvmMachineOptions options = KvmMachineOptions.GoingOn(MachineSnapshot.Open(Snapshot));
        Assert.Contains("its machine has 16 MiB of memory, not 32; its machine has 1 vCPUs, not 2",
            Assert.Throws<ArgumentException>(() => new KvmBoard(options with { MemoryBytes = 2 * MemoryBytes, Vcpus = 2 })).Message);
        Assert.Contains("give one of them", Assert.Throws<ArgumentException>(() => new KvmBoard(options with { Boot = new BootSource("k") })).Message);
        using DeviceHost host = new(new KvmBoard(options), new CountingDevice());
        Assert.Contains("it did not have 'count'", Assert.Throws<StateException>(() => new KvmMachine(host)).Message);
    }

    [KvmFact]
    public async Task A_state_of_an_enemy_is_refused_and_never_hangs()
    {
        await Boot().SaveAsync(Snapshot, cancel: End);
        string state = Path.Combine(Snapshot, "state.json"), good = File.ReadAllText(state);
        foreach ((string from, string to, string says) in ((string, string, string)[])
        [
            ("\"version\": 1,\n  \"machine\"", "\"version\": 2,\n  \"machine\"", "version 2"),
            ("\"memory-bytes\": 16777216", "\"memory-bytes\": 33554432", "have 16777216 bytes together"),
            ("\"vcpus\": 1,", "\"vcpus\": 2,", "the machine has 2 vCPUs"),
            ("\"address\": \"0x0\"", "\"address\": \"0xfec00000\"", "are not where this machine has its memory"),
            ("\"run-state\": 0", "\"run-state\": 77", "KVM_SET_MP_STATE"),
            ("\"rip\": ", "\"rap\": ", "vcpus[0].rip is missing"),
            ("\"clock-ns\"", "\"clock\"", "clock-ns is missing"),
            ("\"acpi\": true", "\"acpi\": 1", "not true or false"),
            ("\"xcrs\": \"", "\"xcrs\": \"AAAA", "xcrs"),
        ])
        {
            Assert.Contains(from, good, StringComparison.Ordinal);
            string bad = good.Replace(from, to, StringComparison.Ordinal);
            File.WriteAllText(state, bad);
            File.WriteAllText(Path.Combine(Snapshot, "state.crc32c"), MachineSnapshot.SumOf(System.Text.Encoding.UTF8.GetBytes(bad)));
            Exception refused = Assert.ThrowsAny<Exception>(() => GoOn(Snapshot));
            Assert.True(refused is StateException or KernelException, refused.ToString());
            Assert.Contains(says, refused.Message, StringComparison.Ordinal);
        }
    }

    [KvmFact]
    public void A_processor_without_what_the_guest_has_seen_is_refused_with_the_names()
    {
        using KvmSystem system = KvmSystem.Open();
        KvmCpuidEntry[] here = GuestCpuid.For(system, 0, 1), saved = GuestCpuid.For(system, 0, 1);
        Assert.Empty(CpuidFeatures.Missing(saved, here));
        int basic = Array.FindIndex(here, entry => entry.Function == 1);
        Assert.True((saved[basic].Edx & 1) != 0, "no processor is without floating point");
        here[basic].Edx &= ~1u;
        saved[basic].Edx |= 1u << 30;
        Assert.Equal(["fpu", "ia64"], CpuidFeatures.Missing(saved, here));
        here = [.. here.Select(entry => entry.Function == 0 ? entry with { Ebx = 0x4d4d5621 } : entry)];
        Assert.Contains(CpuidFeatures.Missing(saved, here), missing => missing.Contains("a processor of", StringComparison.Ordinal));
    }

    [KvmFact]
    public async Task A_guest_that_sleeps_until_a_deadline_is_woken_after_it_was_saved()
    {
        const uint TimerVector = 0xfee0_0320, Deadline = 0x6e0, DeadlineMode = 1 << 18;
        using KvmGuest first = KvmGuest.WithInterrupts();
        first.Vcpu.SetCpuid(GuestCpuid.For(first.System, 0, 1));
        void Arm(Assembler c)
        {
            c.rdtsc();
            c.shl(rdx, 32);
            c.or(rax, rdx);
            // Some milliseconds on any processor.
            c.add(rax, 1 << 28);
            c.mov(rdx, rax);
            c.shr(rdx, 32);
            c.mov(ecx, Deadline);
            c.wrmsr();
        }
        first.LoadWithInterrupt(pin: 5, level: false, c =>
        {
            c.push(rcx);
            c.push(rdx);
            c.inc(__dword_ptr[KvmGuest.DataAddress]);
            Arm(c);
            c.pop(rdx);
            c.pop(rcx);
        }, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(eax, TimerVector);
            c.mov(__dword_ptr[rax], KvmGuest.Vector | DeadlineMode);
            Arm(c);
            c.sti();
            c.Label(ref loop);
            c.hlt();
            c.jmp(loop);
        });
        first.Start();
        Assert.True(SpinWait.SpinUntil(() => first.DataWord() >= 2, KvmGuest.Watchdog), "the timer does not tick");
        first.Thread.RequestStop();
        await first.End();
        Assert.True(first.Thread.Join(KvmGuest.Watchdog));
        StateWriter written = new();
        KvmVcpuRecord.Write(written, first.Vcpu.Save(first.System.GetMsrIndices()));
        uint ticks = first.DataWord();

        using KvmGuest second = KvmGuest.WithInterrupts();
        second.Vcpu.SetCpuid(GuestCpuid.For(second.System, 0, 1));
        first.Memory.CopyTo(second.Memory);
        StateReader record = StateReader.Parse(Text(written), "vcpu");
        Assert.Empty(second.Vcpu.Restore(KvmVcpuRecord.Read(record)));
        record.Complete();
        second.Start();
        Assert.True(SpinWait.SpinUntil(() => second.DataWord() >= ticks + 3, KvmGuest.Watchdog), "it was not woken");
    }

    [KvmFact]
    public async Task A_fault_that_the_guest_was_about_to_take_is_taken_after_it_was_saved()
    {
        const int InvalidOpcode = 6;
        static void Program(Assembler c)
        {
            Label loop = c.CreateLabel();
            c.Label(ref loop);
            c.inc(__dword_ptr[KvmGuest.DataAddress + 4]);
            c.jmp(loop);
        }
        using KvmGuest first = KvmGuest.WithInterrupts();
        first.LoadWithInterrupt(pin: 5, level: false, c => c.inc(__dword_ptr[KvmGuest.DataAddress]), Program);
        first.SetGate(InvalidOpcode);
        first.Start();
        Assert.True(SpinWait.SpinUntil(() => first.DataWord(1) > 0, KvmGuest.Watchdog), "the guest does not run");
        first.Thread.RequestStop();
        await first.End();
        Assert.True(first.Thread.Join(KvmGuest.Watchdog));
        KvmVcpuState state = first.Vcpu.Save(first.System.GetMsrIndices());
        KvmVcpuEvents events = state.Events;
        // Injected, and its number: the processor was to deliver it, and was interrupted by something else.
        (events[0], events[1]) = (1, InvalidOpcode);
        first.Vcpu.Restore(KvmGuest.With(state, events));
        StateWriter written = new();
        KvmVcpuRecord.Write(written, first.Vcpu.Save(first.System.GetMsrIndices()));
        Assert.Equal(0u, first.DataWord());

        using KvmGuest second = KvmGuest.WithInterrupts();
        first.Memory.CopyTo(second.Memory);
        StateReader record = StateReader.Parse(Text(written), "vcpu");
        Assert.Empty(second.Vcpu.Restore(KvmVcpuRecord.Read(record)));
        record.Complete();
        uint before = second.DataWord(1);
        second.Start();
        second.WaitForData(1);
        Assert.True(SpinWait.SpinUntil(() => second.DataWord(1) - before > 1000, KvmGuest.Watchdog), "it does not go on behind the fault");
        Assert.Equal(1u, second.DataWord());
    }

    [KvmFact]
    public void A_vcpu_is_read_back_as_it_was_written()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        guest.Load(EntryMode.Long, c => c.hlt());
        KvmVcpuState state = guest.Vcpu.Save(guest.System.GetMsrIndices());
        StateWriter once = new(), again = new();
        KvmVcpuRecord.Write(once, state);
        StateReader record = StateReader.Parse(Text(once), "vcpu");
        KvmVcpuState back = KvmVcpuRecord.Read(record);
        record.Complete();
        KvmVcpuRecord.Write(again, back);
        Assert.Equal(Text(once), Text(again));
        Assert.Equal(state.Registers, back.Registers);
        Assert.Equal(state.SystemRegisters, back.SystemRegisters);
        Assert.Equal(state.Msrs, back.Msrs);
        Assert.Equal(state.Xsave, back.Xsave);
    }

    private static byte[] Text(StateWriter state)
    {
        using MemoryStream text = new();
        state.WriteTo(text);
        return text.ToArray();
    }
}
